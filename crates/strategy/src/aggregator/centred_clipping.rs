//! Centred clipping (Karimireddy 2021, Algorithm 2): v ← v + mean[(Δ_k − v) · min(1, τ/‖Δ_k − v‖)], so many times.
//!
//! v starts at the aggregate of the last round. It has no value that suits every model: τ must be given, or `median`
//! for the median of the ‖Δ_k − v‖ at the first iteration of the round.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Aggregator, Updates, median_of};
use crate::{closed_round::clear_unstepped, slots::Slots, vector_math::Math};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "centred-clipping",
    summary: "v ← v + mean[(Δ_k − v) · min(1, τ/‖Δ_k − v‖)], from the v of the last round",
    parameters: &[
        Parameter {
            key: "tau",
            default: None,
            range: Range::NumberOr {
                number: &Range::Positive,
                word: "median",
                wants: "a number above 0, or median for that of the round",
            },
            help: "τ, the greatest distance from v",
        },
        Parameter {
            key: "iterations",
            default: Some(Value::Number(1.0)),
            range: Range::Count,
            help: "L, the iterations of a round",
        },
    ],
    source: "Karimireddy 2021, Algorithm 2",
    build: |values| {
        Arc::new(CentredClipping { tau: values.number_or_word("tau"), iterations: values.count("iterations") })
    },
};

/// The slot of v.
const CENTRE: &str = "centre";

#[derive(Debug)]
struct CentredClipping {
    /// The greatest distance; none for the median.
    tau: Option<f64>,
    iterations: u32,
}

impl Aggregator for CentredClipping {
    fn aggregate(&self, updates: &Updates<'_>, slots: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let received = updates.received;
        let mut point = match slots.vector(CENTRE) {
            Some(v) => math.combine(&[(1.0, received), (1.0, v)], 1.0),
            None => received.to_vec(),
        };
        let mut tau = self.tau;
        for _ in 0..self.iterations {
            let lengths = updates.lengths(&point, math);
            let most = *tau.get_or_insert_with(|| median_of(lengths.clone()));
            point = clipped_mean(updates, &point, &lengths, most, math);
        }
        let mut centre = math.combine(&[(1.0, &point), (-1.0, received)], 1.0);
        clear_unstepped(&mut centre, updates.layout);
        slots.set_vector(CENTRE, centre);
        point
    }

    fn slots(&self) -> &'static [&'static str] {
        &[CENTRE]
    }

    fn is_weighted(&self) -> bool {
        false
    }

    /// The median length of one change is its own, at which nothing is clipped.
    fn suits_one_update(&self) -> bool {
        self.tau.is_some()
    }
}

/// Returns x + mean[(w_k − x) · min(1, most/‖w_k − x‖)] for the lengths ‖w_k − x‖. If no length is above `most`, it is
/// the mean itself.
pub(super) fn clipped_mean(
    updates: &Updates<'_>,
    point: &[f32],
    lengths: &[f64],
    most: f64,
    math: &dyn Math,
) -> Vec<f32> {
    let shares: Vec<f64> = lengths.iter().map(|&length| if length > most { most / length } else { 1.0 }).collect();
    let count = shares.len() as f64;
    let stays = (count - shares.iter().sum::<f64>(), point);
    let members: Vec<_> = [stays].into_iter().chain(shares.iter().copied().zip(updates.rows())).collect();
    math.combine(&members, count)
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::aggregator::testing::{aggregate, aggregate_with};

    const ROWS: [[f32; 2]; 3] = [[3.0, 4.0], [0.0, 1.0], [-10.0, 0.0]];

    #[test]
    fn the_first_round_with_one_iteration_is_norm_bounding() {
        assert_eq!(aggregate("centred-clipping:2", &ROWS), aggregate("norm-bounding:2", &ROWS));
    }

    /// From v = 1 with τ = 1 the change 4 counts as 2, and −1 as 0; then from v = 1 the same.
    #[test]
    fn the_centre_is_kept_between_rounds() {
        let mut slots = Slots::default();
        slots.set_vector(CENTRE, vec![1.0]);
        assert_eq!(aggregate_with("centred-clipping:1", &[[4.0], [-1.0]], &mut slots), [1.0]);
        assert_eq!(aggregate_with("centred-clipping:1", &[[4.0], [1.5]], &mut slots), [1.75]);
        assert_eq!(slots.vector(CENTRE).unwrap()[..], [1.75]);
        let twice = aggregate_with("centred-clipping:tau=1,iterations=2", &[[4.0], [9.0]], &mut Slots::default());
        assert_eq!(twice, [2.0]);
    }

    #[test]
    fn the_median_length_may_be_the_bound_and_a_bound_must_be_given() {
        // The lengths are 5, 1 and 10.
        assert_eq!(aggregate("centred-clipping:median", &ROWS), aggregate("norm-bounding:5", &ROWS));
        let why = "centred-clipping".parse::<Named<dyn Aggregator>>().unwrap_err().to_string();
        assert!(why.contains("needs the key `tau`, a number above 0, or median"), "{why}");
    }
}
