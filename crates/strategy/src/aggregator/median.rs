//! The coordinate-wise median (Yin 2018, definition 1).

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Updates, by_column};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "median",
    summary: "the median of each weight; of an even number the mean of the middle two",
    parameters: &[],
    source: "Yin 2018, definition 1",
    build: |_| Arc::new(Median),
};

#[derive(Debug)]
struct Median;

impl Aggregator for Median {
    fn aggregate(&self, updates: &Updates<'_>, math: &dyn Math) -> Vec<f32> {
        by_column(updates.members, math, &median)
    }

    fn is_weighted(&self) -> bool {
        false
    }
}

/// Returns the median of `values`, at least one, in any order.
fn median(values: &mut [f32]) -> f32 {
    let (middle, is_odd) = (values.len() / 2, values.len() % 2 == 1);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    if is_odd {
        return upper;
    }
    let lower = below.iter().copied().max_by(f32::total_cmp).unwrap_or(upper);
    (0.5 * (f64::from(lower) + f64::from(upper))) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_middle_value_or_the_mean_of_the_middle_two() {
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [1e30, 2.0, -5.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 1e30, 3.0]), 3.5);
        assert_eq!(median(&mut [f32::MAX, f32::MAX]), f32::MAX);
    }
}
