//! Bulyan (El Mhamdi 2018, section 4): picks θ = n − 2f updates by Krum, then takes for each weight the mean of the
//! θ − 2f values nearest to the median of the picked.
//!
//! Krum picks one, removes it, and scores the r that are left by max(1, r − f − 2) neighbours.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Updates, by_sorted, krum::FAULTY, median::middle};
use crate::{
    neighbours::{least, scores},
    slots::Slots,
    sorted_columns::ColumnBlock,
    vector_math::Math,
};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "bulyan",
    summary: "of n − 2f updates that krum picks, the mean of the n − 4f values of each weight nearest to the median",
    parameters: &[FAULTY],
    source: "El Mhamdi 2018, section 4",
    build: |values| Arc::new(Bulyan { f: values.count("f") as usize }),
};

#[derive(Debug)]
struct Bulyan {
    f: usize,
}

impl Aggregator for Bulyan {
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let rows = updates.rows();
        let picked: Vec<&[f32]> = self.picked(&rows, math).into_iter().map(|place| rows[place]).collect();
        let kept = picked.len() - 2 * self.f;
        by_sorted(&picked, 0..picked.len(), math, &|sorted| mean_near_median(sorted, kept))
    }

    fn faulty(&self, _: usize) -> Option<usize> {
        Some(self.f)
    }

    fn is_weighted(&self) -> bool {
        false
    }

    fn least_updates(&self) -> u32 {
        4 * self.f as u32 + 3
    }

    fn bound(&self) -> &'static str {
        "n ≥ 4f + 3"
    }
}

impl Bulyan {
    /// Returns the places of the θ updates that Krum picks one after the other, ascending.
    fn picked(&self, rows: &[&[f32]], math: &dyn Math) -> Vec<usize> {
        let distances = math.squared_distances(rows);
        let mut left: Vec<usize> = (0..rows.len()).collect();
        let mut picked = Vec::new();
        for _ in 0..rows.len() - 2 * self.f {
            let neighbours = left.len().saturating_sub(self.f + 2).max(1);
            let best = least(&scores(&distances, &left, neighbours), 1)[0];
            picked.push(left.remove(best));
        }
        picked.sort_unstable();
        picked
    }
}

/// Returns for each column the mean of the `kept` values nearest to the median, summed in ascending order. Of two
/// values at the same distance the lesser one is kept.
fn mean_near_median(sorted: &[ColumnBlock], kept: usize) -> ColumnBlock {
    let medians = middle(sorted);
    std::array::from_fn(|column| {
        let (value, median) = (|row: usize| f64::from(sorted[row][column]), medians[column]);
        let (mut first, mut end) = (0, sorted.len());
        while end - first > kept {
            let is_upper_farther = value(end - 1) - median >= median - value(first);
            if is_upper_farther { end -= 1 } else { first += 1 }
        }
        ((first..end).map(value).sum::<f64>() / kept as f64) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{aggregator::testing::aggregate, sorted_columns::COLUMNS};

    #[test]
    fn without_faulty_clients_it_is_the_equal_mean() {
        let rows = [[0.5, 1.0], [1.5, -3.0], [4.0, 8.0]];
        assert_eq!(aggregate("bulyan:f=0", &rows), aggregate("trimmed-mean:beta=0", &rows));
    }

    #[test]
    fn the_values_nearest_to_the_median_are_kept() {
        let near =
            |values: &[f32], kept| mean_near_median(&values.iter().map(|v| [*v; COLUMNS]).collect::<Vec<_>>(), kept)[0];
        assert_eq!(near(&[-9.0, 1.0, 2.0, 3.5, 40.0], 3), (1.0 + 2.0 + 3.5) / 3.0);
        // The median is 2, so that −9 is farther than 8 and 4 is nearer than −1.
        assert_eq!(near(&[-9.0, -1.0, 2.0, 4.0, 8.0], 2), 3.0);
        assert_eq!(near(&[1.0, 2.0, 3.0], 2), 1.5);
    }
}
