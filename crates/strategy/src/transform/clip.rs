//! A bound on the Euclidean norm of the change (McMahan 2018, section 2).
//!
//! A change that is longer than C becomes change · C / ‖change‖. The norm is summed in `f64` in index order, and each
//! product is rounded towards zero, so that no rounding lifts the norm above C.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{ChangeRule, Transform};
use crate::vector_math::length;

const NORM: Parameter = Parameter {
    key: "norm",
    default: None,
    range: Range::Positive,
    help: "C, the greatest Euclidean norm of the change",
};

pub(super) const FEATURE: &str = "clip";

pub(super) const ROW: TableRow<Transform> = TableRow {
    name: "clip",
    summary: "change · min(1, C/‖change‖)",
    parameters: &[NORM],
    source: "McMahan 2018, section 2",
    build: |values| Arc::new(Transform::Rule(Box::new(Clip { most: values.number("norm") }))),
};

#[derive(Debug)]
struct Clip {
    /// The greatest norm.
    most: f64,
}

impl ChangeRule for Clip {
    fn feature(&self) -> &'static str {
        FEATURE
    }

    fn apply(&self, mut change: Vec<f32>) -> Vec<f32> {
        let norm = length(&change);
        // The norm of a change that is not finite may be NaN. The host refuses such a change.
        if norm > self.most {
            let factor = self.most / norm;
            change.iter_mut().for_each(|value| *value = towards_zero(f64::from(*value) * factor));
        }
        change
    }
}

/// Returns the nearest `f32` that is not farther from zero.
fn towards_zero(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest).abs() <= value.abs() {
        nearest
    } else if value > 0.0 {
        nearest.next_down()
    } else {
        nearest.next_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::written;

    fn clipped(most: f64, change: &[f32]) -> Vec<f32> {
        Clip { most }.apply(change.to_vec())
    }

    #[test]
    fn a_change_is_scaled_to_the_bound_and_a_short_one_keeps_its_bits() {
        assert_eq!(clipped(1.0, &[3.0, 0.0, -4.0]), [0.6_f64, 0.0, -0.8].map(towards_zero));
        let short = [3.0_f32, -0.0, -4.0];
        let kept: Vec<u32> = clipped(5.0, &short).into_iter().map(f32::to_bits).collect();
        assert_eq!(kept, short.map(f32::to_bits));
        assert_eq!(clipped(1.0, &[0.0; 3]), [0.0; 3]);
    }

    #[test]
    fn a_change_that_is_not_finite_stays_so() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(clipped(1.0, &[1.0, bad])[1].is_nan(), "{bad}");
        }
    }

    #[test]
    fn a_product_is_rounded_towards_zero() {
        for value in [0.1_f64, -0.1, 1.0 / 3.0, -1e-40, 0.5, -0.0, 3e38] {
            let rounded = towards_zero(value);
            let farther = if value > 0.0 { rounded.next_up() } else { rounded.next_down() };
            let is_between = (f64::from(rounded).abs()..f64::from(farther).abs()).contains(&value.abs());
            assert!(is_between && rounded.is_sign_negative() == value.is_sign_negative(), "{value}: {rounded}");
        }
    }

    /// The vectors of the protocol's README come from its `vectors.py`; the Python package has the same test.
    #[test]
    fn a_change_is_clipped_as_the_protocol_says_to_the_bit() {
        assert_eq!(clipped(10.0, &written("change")), written("change under `clip:norm=10`"));
    }
}
