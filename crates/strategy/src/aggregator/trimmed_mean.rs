//! The coordinate-wise trimmed mean (Yin 2018, definition 2).

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Aggregator, Updates, by_column};
use crate::vector_math::Math;

const BETA: Parameter = Parameter {
    key: "beta",
    default: Some(Value::Number(0.1)),
    range: Range::BelowHalf,
    help: "β, the share of the clients that is left out at each end of each weight, rounded down",
};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "trimmed-mean",
    summary: "the equal mean of each weight without its least and greatest values",
    parameters: &[BETA],
    source: "Yin 2018, definition 2",
    build: |values| Arc::new(TrimmedMean { beta: values.number("beta") }),
};

#[derive(Debug)]
struct TrimmedMean {
    beta: f64,
}

impl Aggregator for TrimmedMean {
    fn aggregate(&self, updates: &Updates<'_>, math: &dyn Math) -> Vec<f32> {
        let left_out = left_out(self.beta, updates.members.len());
        by_column(updates.members, math, &|values| trimmed_mean(values, left_out))
    }

    fn is_weighted(&self) -> bool {
        false
    }

    /// With fewer updates none is left out, and the rule is the mean.
    fn least_updates(&self) -> u32 {
        // A product of 1 - ROUNDING is the least that [`left_out`] takes for 1.
        if self.beta == 0.0 { 1 } else { ((1.0 - ROUNDING) / self.beta).ceil() as u32 }
    }
}

/// The share that f64 may take away from a product βn which is a whole number.
const ROUNDING: f64 = 1e-9;

/// Returns the number of values that are left out at each end of `count`: ⌊βn⌋.
fn left_out(beta: f64, count: usize) -> usize {
    (beta * count as f64 + ROUNDING) as usize
}

/// Returns the mean of `values` without so many at each end. The sum is in ascending order, so that the order of the
/// clients has no part in it.
fn trimmed_mean(values: &mut [f32], left_out: usize) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    let kept = &values[left_out..values.len() - left_out];
    (kept.iter().map(|&value| f64::from(value)).sum::<f64>() / kept.len() as f64) as f32
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::{
        aggregator::{Member, testing::update},
        vector_math::OneCore,
    };

    fn aggregate(beta: f64, rows: &[[f32; 3]]) -> Vec<f32> {
        let header = update(0, 1, 1);
        let members: Vec<_> = rows.iter().map(|weights| Member { update: &header, weight: 1.0, weights }).collect();
        TrimmedMean { beta }.aggregate(
            &Updates { received: &[0.0; 3], members: &members, is_proximal: false, learning_rate: 0.1 },
            &OneCore,
        )
    }

    /// The values that ByzFL's trimmed mean has for f = 1.
    #[test]
    fn it_has_the_value_of_byzfl_in_any_order() {
        let rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];
        assert_eq!(aggregate(1.0 / 3.0, &rows), [4.0, 5.0, 6.0]);
        assert_eq!(aggregate(0.0, &rows), [4.0, 5.0, 6.0]);
        let five = [[0.1, 1.0, -1.0], [0.2, 1.0, 5.0], [0.7, 1.0, 2.0], [-9.0, 1.0, 0.25], [1e30, 1.0, -1e30]];
        let expected = [(1.0_f32 / 3.0, 1.0), (0.2, 1.25 / 3.0)];
        let trimmed = aggregate(0.2, &five);
        assert!((trimmed[0] - expected[0].0).abs() < 1e-7 && (trimmed[2] - expected[1].1).abs() < 1e-7, "{trimmed:?}");
        let mut turned = five;
        turned.rotate_left(2);
        assert_eq!((aggregate(0.2, &turned), trimmed[1]), (trimmed, 1.0));
    }

    #[test]
    fn the_fewest_updates_are_the_first_number_of_which_any_is_left_out() {
        for (beta, least) in [(0.1, 10), (0.3, 4), (1.0 / 3.0, 3), (1.0 / 49.0, 49), (0.49, 3), (0.07, 15)] {
            assert_eq!(TrimmedMean { beta }.least_updates(), least, "{beta}");
            assert_eq!([least - 1, least].map(|count| left_out(beta, count as usize)), [0, 1], "{beta}");
        }
        assert_eq!([0.0, 1e-300].map(|beta| TrimmedMean { beta }.least_updates()), [1, u32::MAX]);
        assert_eq!("median".parse::<Named<dyn Aggregator>>().unwrap().least_updates(), 1);
    }

    #[test]
    fn a_share_is_rounded_down_and_leaves_one_value() {
        for (beta, count, expected) in
            [(0.1, 9, 0), (0.1, 10, 1), (0.3, 10, 3), (0.29, 100, 29), (0.49, 3, 1), (0.499, 2, 0), (0.0, 7, 0)]
        {
            assert_eq!(left_out(beta, count), expected, "{beta} of {count}");
            assert!(2 * expected < count);
        }
        let refused = "trimmed-mean:0.5".parse::<Named<dyn Aggregator>>().unwrap_err().to_string();
        assert!(refused.contains("beta=0.5; give a number of at least 0 and below 0.5"), "{refused}");
    }
}
