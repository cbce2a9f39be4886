//! Krum (Blanchard 2017, section 4): the update with the least sum of squared distances to its n − f − 2 nearest others.
//!
//! Of equal scores the lowest client counts. ByzFL sums n − f − 1 distances.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Aggregator, Updates};
use crate::{
    neighbours::{least, scores},
    slots::Slots,
    vector_math::Math,
};

pub(super) const FAULTY: Parameter = Parameter {
    key: "f",
    default: None,
    range: Range::WholeNumber,
    help: "the number of faulty clients that a round may have",
};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "krum",
    summary: "the update with the least sum of squared distances to its n − f − 2 nearest others",
    parameters: &[FAULTY],
    source: "Blanchard 2017, section 4",
    build: |values| Arc::new(Krum { f: values.count("f") as usize }),
};

#[derive(Debug)]
struct Krum {
    f: usize,
}

impl Aggregator for Krum {
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let rows = updates.rows();
        let chosen = nearest_to_others(&rows, self.f, 1, math);
        rows[chosen[0]].to_vec()
    }

    fn faulty(&self, _: usize) -> Option<usize> {
        Some(self.f)
    }

    fn is_weighted(&self) -> bool {
        false
    }

    fn least_updates(&self) -> u32 {
        least_updates(self.f)
    }

    fn bound(&self) -> &'static str {
        BOUND
    }
}

/// The bound of Krum's theorem.
pub(super) const BOUND: &str = "n ≥ 2f + 3";

pub(super) fn least_updates(f: usize) -> u32 {
    2 * f as u32 + 3
}

/// Returns the places of the `count` vectors with the least scores, ascending.
pub(super) fn nearest_to_others(rows: &[&[f32]], f: usize, count: usize, math: &dyn Math) -> Vec<usize> {
    let all: Vec<usize> = (0..rows.len()).collect();
    let neighbours = rows.len().saturating_sub(f + 2);
    least(&scores(&math.squared_distances(rows), &all, neighbours), count)
}

#[cfg(test)]
mod tests {
    use crate::aggregator::testing::aggregate;

    /// Of 0, 1, 3, 7, 8, 100 and f = 1, three neighbours: the sums of squares are 59, 41, 29, 53, 75 and more.
    #[test]
    fn it_is_the_update_amid_the_others() {
        let rows = [[0.0], [1.0], [3.0], [7.0], [8.0], [100.0]];
        assert_eq!(aggregate("krum:f=1", &rows), [3.0]);
        // Two neighbours: the sums are 10, 5, 13, 17 and 26, so that ByzFL's number of neighbours differs here.
        assert_eq!(aggregate("krum:f=2", &rows), [1.0]);
    }

    #[test]
    fn of_equal_scores_the_first_counts() {
        assert_eq!(aggregate("krum:f=0", &[[5.0, 1.0], [5.0, 0.0], [5.0, 2.0]]), [5.0, 1.0]);
    }
}
