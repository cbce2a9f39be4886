//! Bucketing (Karimireddy 2022, Algorithm 1): the vectors in a drawn order become the means of s at a time. The last
//! bucket may be smaller. The f of the aggregator stays.

use std::sync::Arc;

use fedpipe_random::order::order;
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{PreAggregator, Vectors};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn PreAggregator> = TableRow {
    name: "bucketing",
    summary: "the vectors in a drawn order become the means of s at a time",
    parameters: &[Parameter { key: "s", default: None, range: Range::Count, help: "s, the vectors of a bucket" }],
    source: "Karimireddy 2022, Algorithm 1",
    build: |values| Arc::new(Bucketing { size: values.count("s") }),
};

#[derive(Debug)]
struct Bucketing {
    size: u32,
}

impl PreAggregator for Bucketing {
    fn vectors(&self, given: &Vectors<'_>, math: &dyn Math) -> Vec<Vec<f32>> {
        let order = order(&given.key, given.rows.len() as u32);
        let mean = |bucket: &[u32]| {
            let mut bucket = bucket.to_vec();
            bucket.sort_unstable();
            let rows: Vec<_> = bucket.into_iter().map(|place| (1.0, given.rows[place as usize])).collect();
            math.combine(&rows, rows.len() as f64)
        };
        order.chunks(self.size as usize).map(mean).collect()
    }

    fn least_updates(&self, after: u32) -> u32 {
        (after - 1).saturating_mul(self.size) + 1
    }
}

#[cfg(test)]
mod tests {
    use crate::pre_aggregator::testing::vectors;

    /// Each vector is in one bucket: the sums of the buckets add up to those of the vectors.
    #[test]
    fn each_vector_is_in_one_bucket_of_a_drawn_order() {
        let rows: Vec<[f32; 1]> = (0..7).map(|place| [(1 << place) as f32]).collect();
        let mut drawn = Vec::new();
        for round in 1..=20 {
            let means: Vec<f32> = vectors("bucketing:3", &rows, round).into_iter().map(|row| row[0]).collect();
            let sizes = [3.0, 3.0, 1.0];
            assert_eq!(means.iter().zip(sizes).map(|(mean, size)| (mean * size).round()).sum::<f32>(), 127.0);
            drawn.push(means);
        }
        drawn.sort_by(|a, b| a[0].total_cmp(&b[0]));
        drawn.dedup();
        assert!(drawn.len() > 10, "{drawn:?}");
        assert_eq!(vectors("bucketing:1", &rows, 1).len(), 7);
    }
}
