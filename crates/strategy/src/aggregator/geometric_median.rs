//! The geometric median by the smoothed Weiszfeld algorithm, RFA (Pillutla 2022, Algorithm 2).
//!
//! v starts at the weighted mean; then at most four times β_k = p_k / max(ν, ‖v − w_k‖) and v ← Σβ_k w_k / Σβ_k. It ends
//! where the objective Σ p_k ‖v − w_k‖ changes by less than the tolerance times itself. ByzFL has `start=zero,nu=0.1`,
//! three iterations and no tolerance; zero is the received weights.

use std::{borrow::Cow, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Aggregator, Updates};
use crate::{slots::Slots, vector_math::Math};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "geometric-median",
    summary: "the point with the least weighted sum of distances to the updates; RFA",
    parameters: &[
        Parameter {
            key: "nu",
            default: Some(Value::Number(1e-5)),
            range: Range::Positive,
            help: "ν, the least distance by which is divided",
        },
        Parameter {
            key: "iterations",
            default: Some(Value::Number(4.0)),
            range: Range::Count,
            help: "the most iterations",
        },
        Parameter {
            key: "tolerance",
            default: Some(Value::Number(1e-6)),
            range: Range::NotNegative,
            help: "the relative change of the objective below which it ends",
        },
        Parameter {
            key: "start",
            default: Some(Value::Text(Cow::Borrowed("mean"))),
            range: Range::Word { of: &["mean", "zero"], wants: "mean or zero" },
            help: "the first point: the weighted mean, or the received weights",
        },
    ],
    source: "Pillutla 2022, Algorithm 2",
    build: |values| {
        let [nu, tolerance] = ["nu", "tolerance"].map(|key| values.number(key));
        let (iterations, starts_at_mean) = (values.count("iterations"), values.text("start") == "mean");
        Arc::new(GeometricMedian { nu, iterations, tolerance, starts_at_mean })
    },
};

#[derive(Debug)]
struct GeometricMedian {
    nu: f64,
    iterations: u32,
    tolerance: f64,
    starts_at_mean: bool,
}

impl Aggregator for GeometricMedian {
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let shares: Vec<f64> = updates.members.iter().map(|member| member.weight).collect();
        let centre = |shares: &[f64]| {
            let members: Vec<_> = shares.iter().copied().zip(updates.rows()).collect();
            math.combine(&members, shares.iter().sum())
        };
        let mut point = if self.starts_at_mean { centre(&shares) } else { updates.received.to_vec() };
        let mut lengths = updates.lengths(&point, math);
        for _ in 0..self.iterations {
            let pulls: Vec<f64> = shares.iter().zip(&lengths).map(|(p, length)| p / length.max(self.nu)).collect();
            let before = objective(&shares, &lengths);
            point = centre(&pulls);
            lengths = updates.lengths(&point, math);
            let now = objective(&shares, &lengths);
            if (before - now).abs() < self.tolerance * now {
                break;
            }
        }
        point
    }
}

/// Returns Σ p_k ‖v − w_k‖.
fn objective(shares: &[f64], lengths: &[f64]) -> f64 {
    shares.iter().zip(lengths).fold(0.0, |sum, (p, length)| sum + p * length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregator::{
            Member,
            testing::{aggregate, flat},
        },
        vector_math::OneCore,
    };

    /// ByzFL's value for its own start, ν and number of iterations.
    #[test]
    fn it_has_the_value_of_byzfl() {
        let rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];
        let median = aggregate("geometric-median:start=zero,nu=0.1,iterations=3,tolerance=0", &rows);
        for (value, expected) in median.iter().zip([3.787_887_64, 4.787_887_64, 5.787_887_64]) {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "{median:?}");
        }
    }

    #[test]
    fn of_three_points_on_a_line_it_is_the_middle_one() {
        let median = aggregate("geometric-median:iterations=100,tolerance=0", &[[0.0, 0.0], [1.0, 2.0], [10.0, 20.0]]);
        assert!((median[0] - 1.0).abs() < 1e-4 && (median[1] - 2.0).abs() < 1e-4, "{median:?}");
    }

    #[test]
    fn each_iteration_lowers_the_objective_and_weights_count() {
        let rows: [[f32; 2]; 4] = [[0.0, 0.0], [1.0, 0.5], [0.25, 2.0], [9.0, -7.0]];
        let members = rows.iter().zip([1.0, 2.0, 1.0, 3.0]);
        let members: Vec<_> = members.map(|(row, weight)| Member { update: None, weight, weights: row }).collect();
        let layout = flat(2);
        let updates =
            Updates { received: &[0.0; 2], members: &members, is_proximal: false, learning_rate: 0.1, layout: &layout };
        let mut before = f64::INFINITY;
        for iterations in 1..20 {
            let rule = GeometricMedian { nu: 1e-5, iterations, tolerance: 0.0, starts_at_mean: true };
            let point = rule.aggregate(&updates, &mut Slots::default(), &OneCore);
            let now = objective(&[1.0, 2.0, 1.0, 3.0], &updates.lengths(&point, &OneCore));
            assert!(now <= before * (1.0 + 1e-6), "iteration {iterations}: {now} after {before}");
            before = now;
        }
    }
}
