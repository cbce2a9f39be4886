//! Sorts the values of each weight over the clients, many weights at once.
//!
//! A sorting network compares the same pairs of rows whatever their values (Batcher's merge exchange, Knuth 5.2.2,
//! algorithm M). The compiler compares the values of several weights at a time.

use std::ops::Range;

use multiversion::multiversion;

/// The weights that are sorted at once. Those of a hundred rows fit in the first cache.
pub(crate) const COLUMNS: usize = 64;

/// A row of the sorted values: the k-th row has the k-th least value of each weight.
pub(crate) type ColumnBlock = [f32; COLUMNS];

/// The network for a number of rows.
#[derive(Debug)]
pub(crate) struct SortedColumns {
    /// The pairs of rows, in the order of the comparisons. The least value goes to the first.
    pairs: Vec<(usize, usize)>,
    count: usize,
}

impl SortedColumns {
    /// Returns the network for so many rows. It places the values of these ranks, from 0, and leaves out the
    /// comparisons on which none of them depends: the other rows have any values.
    pub(crate) fn new(count: usize, ranks: Range<usize>) -> Self {
        let mut pairs = Vec::new();
        let top = count.next_power_of_two() / 2;
        let mut p = top;
        while p > 0 {
            let (mut q, mut r, mut d) = (top, 0, p);
            loop {
                pairs.extend((0..count.saturating_sub(d)).filter(|i| i & p == r).map(|i| (i, i + d)));
                if q == p {
                    break;
                }
                (d, r) = (q - p, p);
                q /= 2;
            }
            p /= 2;
        }
        let mut is_needed: Vec<bool> = (0..count).map(|row| ranks.contains(&row)).collect();
        // From the last comparison on: both rows of a needed one are needed before it.
        let mut needed: Vec<_> = pairs.into_iter().rev().collect();
        needed.retain(|&(low, high)| {
            let either = is_needed[low] || is_needed[high];
            (is_needed[low], is_needed[high]) = (either, either);
            either
        });
        needed.reverse();
        Self { pairs: needed, count }
    }

    /// Calls `rule` with the rows of each [`COLUMNS`] weights, and the place of their results. −0 becomes 0, so
    /// that equal values have the same bits. No value is NaN.
    pub(crate) fn for_each(
        &self,
        rows: &[&[f32]],
        out: &mut [f32],
        mut rule: impl FnMut(&[ColumnBlock], &mut ColumnBlock),
    ) {
        let mut sorted = vec![[0.0_f32; COLUMNS]; self.count];
        let mut results = [0.0; COLUMNS];
        for (index, out) in out.chunks_mut(COLUMNS).enumerate() {
            let columns = index * COLUMNS..index * COLUMNS + out.len();
            for (sorted, row) in sorted.iter_mut().zip(rows) {
                sorted.iter_mut().zip(&row[columns.clone()]).for_each(|(sorted, value)| *sorted = value + 0.0);
            }
            compare(&mut sorted, &self.pairs);
            rule(&sorted, &mut results);
            out.copy_from_slice(&results[..out.len()]);
        }
    }
}

/// Exchanges the values of each pair of rows that are not in order.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn compare(rows: &mut [ColumnBlock], pairs: &[(usize, usize)]) {
    pairs.iter().for_each(|&pair| exchange(rows, pair));
}

/// Moves the lesser values of two rows to the first, and the greater ones to the second.
#[inline(always)]
fn exchange(rows: &mut [ColumnBlock], (low, high): (usize, usize)) {
    // Copies, so that the compiler need not look for an overlap of the two.
    let (a, b) = (rows[low], rows[high]);
    rows[low] = std::array::from_fn(|column| if a[column] < b[column] { a[column] } else { b[column] });
    rows[high] = std::array::from_fn(|column| if a[column] < b[column] { b[column] } else { a[column] });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the rows of the ranks.
    fn sorted(rows: &[Vec<f32>], ranks: Range<usize>) -> Vec<Vec<f32>> {
        let length = rows[0].len();
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let network = SortedColumns::new(rows.len(), ranks.clone());
        let of_rank = |rank: usize| {
            let mut out = vec![0.0; length];
            network.for_each(&slices, &mut out, |sorted, out| *out = sorted[rank]);
            out
        };
        ranks.map(of_rank).collect()
    }

    /// A network that sorts all columns of zeros and ones sorts all columns (Knuth 5.2.2, theorem Z).
    #[test]
    fn each_column_of_zeros_and_ones_is_sorted() {
        for count in 1..=12_usize {
            let bit = |row: usize, column: usize| f32::from(u8::from(column >> row & 1 == 1));
            let rows: Vec<Vec<f32>> = (0..count).map(|row| (0..1 << count).map(|c| bit(row, c)).collect()).collect();
            let all = sorted(&rows, 0..count);
            assert!(all.windows(2).all(|pair| pair[0].iter().zip(&pair[1]).all(|(a, b)| a <= b)), "{count} rows");
            for ranks in (0..count).flat_map(|first| (first..=count).map(move |end| first..end)) {
                assert_eq!(sorted(&rows, ranks.clone()), all[ranks.clone()], "{ranks:?} of {count}");
            }
        }
    }

    #[test]
    fn few_ranks_need_fewer_comparisons() {
        let comparisons = |ranks| SortedColumns::new(100, ranks).pairs.len();
        assert_eq!(
            [comparisons(0..100), comparisons(49..51), comparisons(0..1), comparisons(7..7)],
            [1077, 889, 99, 0]
        );
    }

    proptest! {
        #[test]
        fn columns_have_the_values_of_a_sort(rows in (1..70_usize, 1..70_usize).prop_flat_map(|(count, length)| {
            prop::collection::vec(prop::collection::vec(prop_oneof![-2.0..2.0_f32, Just(0.0), Just(-0.0), Just(1e30)], length), count)
        })) {
            let sorted = sorted(&rows, 0..rows.len());
            for column in 0..rows[0].len() {
                let mut expected: Vec<f32> = rows.iter().map(|row| row[column]).collect();
                expected.sort_by(f32::total_cmp);
                let got: Vec<f32> = sorted.iter().map(|row| row[column]).collect();
                prop_assert_eq!(&got, &expected);
                prop_assert!(got.iter().all(|value| value.to_bits() != (-0.0_f32).to_bits()));
            }
        }
    }
}
