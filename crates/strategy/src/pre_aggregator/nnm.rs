//! Nearest-neighbour mixing (Allouah 2023, Algorithm 2): each vector becomes the mean of its n − f nearest, itself
//! among them. Of equal distances the lowest client counts.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{FAULTY, PreAggregator, Vectors};
use crate::{neighbours::nearest, vector_math::Math};

pub(super) const ROW: TableRow<dyn PreAggregator> = TableRow {
    name: "nnm",
    summary: "each vector becomes the mean of its n − f nearest, itself among them",
    parameters: &[FAULTY],
    source: "Allouah 2023, Algorithm 2",
    build: |values| Arc::new(NearestNeighbourMixing { f: values.number_or_word("f").map(|f| f as usize) }),
};

#[derive(Debug)]
struct NearestNeighbourMixing {
    /// The number of faulty updates; none for that of the aggregator.
    f: Option<usize>,
}

impl PreAggregator for NearestNeighbourMixing {
    fn vectors(&self, given: &Vectors<'_>, math: &dyn Math) -> Vec<Vec<f32>> {
        let (rows, all) = (given.rows, given.rows.len());
        let count = all.saturating_sub(self.f.unwrap_or(given.faulty)).max(1);
        let distances = math.squared_distances(rows);
        let near: Vec<Vec<usize>> = (0..all).map(|one| nearest(&distances, one, all, count)).collect();
        math.means(rows, &near)
    }

    fn takes_faulty(&self) -> bool {
        self.f.is_none()
    }

    fn least_updates(&self, after: u32) -> u32 {
        after.max(self.f.map_or(1, |f| f as u32 + 1))
    }
}

#[cfg(test)]
mod tests {
    use crate::pre_aggregator::testing::{ROWS, vectors};

    #[test]
    fn it_has_the_values_of_byzfl() {
        assert_eq!(vectors("nnm", &ROWS, 1), [[2.5, 3.5, 4.5], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]]);
        assert_eq!(vectors("nnm:f=0", &ROWS, 1), [[4.0, 5.0, 6.0]; 3]);
        assert_eq!(vectors("nnm:f=2", &ROWS, 1), ROWS);
    }
}
