//! Norm bounding (Sun 2019, section 3): the equal mean of the changes Δ_k · min(1, c/‖Δ_k‖).

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Aggregator, Updates, centred_clipping::clipped_mean};
use crate::{slots::Slots, vector_math::Math};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "norm-bounding",
    summary: "the equal mean of the changes Δ_k · min(1, c/‖Δ_k‖)",
    parameters: &[Parameter {
        key: "norm",
        default: None,
        range: Range::Positive,
        help: "c, the greatest Euclidean norm of a change",
    }],
    source: "Sun 2019, section 3",
    build: |values| Arc::new(NormBounding { most: values.number("norm") }),
};

#[derive(Debug)]
struct NormBounding {
    /// The greatest norm.
    most: f64,
}

impl Aggregator for NormBounding {
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let lengths = updates.lengths(updates.received, math);
        clipped_mean(updates, updates.received, &lengths, self.most, math)
    }

    fn is_weighted(&self) -> bool {
        false
    }

    fn suits_one_update(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::aggregator::testing::aggregate;

    /// The lengths of the changes are 5, 1 and 10.
    #[test]
    fn a_long_change_is_shortened_and_a_short_one_kept() {
        let rows = [[3.0, 4.0], [0.0, 1.0], [-10.0, 0.0]];
        let expected = [(1.2 + 0.0 - 2.0) / 3.0_f32, (1.6 + 1.0 + 0.0) / 3.0];
        let bounded = aggregate("norm-bounding:2", &rows);
        assert!(bounded.iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 1e-6), "{bounded:?}");
        assert_eq!(aggregate("norm-bounding:10", &rows), aggregate("trimmed-mean:beta=0", &rows));
    }
}
