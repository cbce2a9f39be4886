//! The coordinate-wise median (Yin 2018, definition 1).

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Updates, by_sorted};
use crate::{
    slots::Slots,
    sorted_columns::{COLUMNS, Row},
    vector_math::Math,
};

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
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        by_sorted(&updates.rows(), math, &|sorted, out| *out = middle(sorted).map(|value| value as f32))
    }

    fn is_weighted(&self) -> bool {
        false
    }
}

/// Returns the middle values of sorted columns, or the means of the middle two.
pub(super) fn middle(sorted: &[Row]) -> [f64; COLUMNS] {
    let upper = sorted.len() / 2;
    // Of an odd number both are the middle one, and their mean is exact.
    let lower = upper - usize::from(sorted.len().is_multiple_of(2));
    std::array::from_fn(|column| 0.5 * (f64::from(sorted[lower][column]) + f64::from(sorted[upper][column])))
}

#[cfg(test)]
mod tests {
    use crate::aggregator::testing::aggregate;

    #[test]
    fn it_is_the_middle_value_or_the_mean_of_the_middle_two() {
        assert_eq!(aggregate("median", &[[3.0]]), [3.0]);
        assert_eq!(aggregate("median", &[[1e30], [2.0], [-5.0]]), [2.0]);
        assert_eq!(aggregate("median", &[[4.0], [1.0], [1e30], [3.0]]), [3.5]);
        assert_eq!(aggregate("median", &[[f32::MAX], [f32::MAX]]), [f32::MAX]);
    }
}
