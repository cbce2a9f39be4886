//! Adaptive robust clipping, ARC (Allouah 2025, Algorithm 2): the ⌊2f(n − f)/n⌋ longest changes are clipped to the length
//! of the next shorter one.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{FAULTY, PreAggregator, Vectors};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn PreAggregator> = TableRow {
    name: "arc",
    summary: "the ⌊2f(n − f)/n⌋ longest changes are clipped to the length of the next shorter one",
    parameters: &[FAULTY],
    source: "Allouah 2025, Algorithm 2",
    build: |values| Arc::new(AdaptiveClipping { f: values.number_or_word("f").map(|f| f as usize) }),
};

#[derive(Debug)]
struct AdaptiveClipping {
    /// The number of faulty updates; none for that of the aggregator.
    f: Option<usize>,
}

impl PreAggregator for AdaptiveClipping {
    fn vectors(&self, given: &Vectors<'_>, math: &dyn Math) -> Vec<Vec<f32>> {
        let Vectors { received, rows, .. } = *given;
        let count = rows.len();
        let faulty = self.f.unwrap_or(given.faulty).min(count);
        let clipped = 2 * faulty * (count - faulty) / count;
        let lengths: Vec<f64> = rows.iter().map(|row| math.squared_distance(received, row).sqrt()).collect();
        let mut ascending = lengths.clone();
        ascending.sort_unstable_by(f64::total_cmp);
        // 2f(n − f)/n is at most n/2.
        let most = ascending[count - clipped.min(count - 1) - 1];
        let vector = |(row, &length): (&&[f32], &f64)| {
            if length <= most {
                return row.to_vec();
            }
            let share = most / length;
            math.combine(&[(1.0 - share, received), (share, row)], 1.0)
        };
        rows.iter().zip(&lengths).map(vector).collect()
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
        let clipped = vectors("arc", &ROWS, 1);
        assert_eq!(clipped[..2], ROWS[..2]);
        let expected = [4.410_040_09, 5.040_045_82, 5.670_051_55];
        assert!(
            clipped[2].iter().zip(expected).all(|(got, expected)| (f64::from(*got) - expected).abs() < 1e-6),
            "{clipped:?}"
        );
        assert_eq!(vectors("arc:f=0", &ROWS, 1), ROWS);
    }
}
