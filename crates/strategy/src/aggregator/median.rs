//! The coordinate-wise median (Yin 2018, definition 1).

use std::{ops::Range, sync::Arc};

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Updates, by_sorted};
use crate::{
    slots::Slots,
    sorted_columns::{COLUMNS, ColumnBlock},
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
        let rows = updates.rows();
        by_sorted(&rows, middle_ranks(rows.len()), math, &|near| middle(near).map(|value| value as f32))
    }

    fn is_weighted(&self) -> bool {
        false
    }
}

/// Returns the ranks of the middle value, or of the middle two.
fn middle_ranks(count: usize) -> Range<usize> {
    count.div_ceil(2) - 1..count / 2 + 1
}

/// Returns the middle values of sorted columns, or the means of the middle two.
pub(super) fn middle(sorted: &[ColumnBlock]) -> [f64; COLUMNS] {
    let ranks = middle_ranks(sorted.len());
    // Of an odd number both are the middle one, and their mean is exact.
    let (lower, upper) = (&sorted[ranks.start], &sorted[ranks.end - 1]);
    std::array::from_fn(|column| 0.5 * (f64::from(lower[column]) + f64::from(upper[column])))
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
