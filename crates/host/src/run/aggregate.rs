//! Averaging: the weighted mean of flat weight vectors, split over the cores.

use std::thread::available_parallelism;

use fedpipe_data::spread;
use fedpipe_strategy::vector_math::{
    BLOCK, BlockRule, Distances, Math, Members, PART, means_of_part, pairs, squared_distance_of_part,
    squared_distances_of_part,
};

/// A weighted mean whose members are added in client order as they arrive. It has the bits of [`weighted_mean`].
#[derive(Debug, Default)]
pub(crate) struct RunningMean {
    sums: Vec<f64>,
    total: f64,
}

impl RunningMean {
    /// Starts again with vectors of so many elements. The memory of the sums is used again.
    pub(crate) fn restart(&mut self, length: usize) {
        self.total = 0.0;
        self.sums.clear();
        self.sums.resize(length, 0.0);
    }

    /// Adds members that follow those before.
    ///
    /// # Panics
    /// Panics if the vectors' lengths differ.
    pub(crate) fn add(&mut self, members: &Members<'_>) {
        let length = self.sums.len();
        assert!(members.iter().all(|(_, vector)| vector.len() == length), "vectors of different lengths");
        self.total = members.iter().fold(self.total, |total, (n, _)| total + n);
        element_wise(&mut self.sums, members.len(), |start, sums| {
            for (index, sums) in sums.chunks_mut(BLOCK).enumerate() {
                add_block(members, start + index * BLOCK, sums);
            }
        });
    }

    /// Returns the mean of the members so far; there is at least one.
    pub(crate) fn mean(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.total) as f32).collect()
    }
}

/// The arithmetic over the updates of a round, split over the cores.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllCores;

impl Math for AllCores {
    fn combine(&self, members: &Members<'_>, total: f64) -> Vec<f32> {
        combine(members, total)
    }

    fn by_block(&self, members: &[&[f32]], rule: &BlockRule<'_>) -> Vec<f32> {
        let mut all = vec![0.0_f32; members[0].len()];
        element_wise(&mut all, members.len(), |start, out| {
            for (index, out) in out.chunks_mut(BLOCK).enumerate() {
                let start = start + index * BLOCK;
                let rows: Vec<&[f32]> = members.iter().map(|member| &member[start..start + out.len()]).collect();
                rule(&rows, out);
            }
        });
        all
    }

    fn means(&self, members: &[&[f32]], sets: &[Vec<usize>]) -> Vec<Vec<f32>> {
        let length = members[0].len();
        assert!(members.iter().all(|member| member.len() == length), "vectors of different lengths");
        let mut all = vec![vec![0.0_f32; length]; sets.len()];
        let cores = if length * members.len() < FEW { 1 } else { cores() };
        let size = length.div_ceil(cores).next_multiple_of(BLOCK);
        let mut columns: Vec<_> = all.iter_mut().map(|out| out.chunks_mut(size)).collect();
        let of_part = |_| columns.iter_mut().filter_map(Iterator::next).collect::<Vec<&mut [f32]>>();
        let parts: Vec<_> = (0..length.div_ceil(size)).map(of_part).collect();
        spread(cores, parts.into_iter().enumerate(), |(part, mut outs)| {
            let start = part * size;
            let rows: Vec<&[f32]> = members.iter().map(|row| &row[start..length.min(start + size)]).collect();
            means_of_part(&rows, sets, &mut outs);
        });
        all
    }

    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len(), "vectors of different lengths");
        let mut parts = vec![0.0; a.len().div_ceil(PART)];
        let cores = if a.len() < FEW { 1 } else { cores() };
        spread(cores, parts.iter_mut().zip(a.chunks(PART).zip(b.chunks(PART))), |(part, (a, b))| {
            *part = squared_distance_of_part(a, b);
        });
        parts.iter().fold(0.0, |sum, part| sum + part)
    }

    fn squared_distances(&self, members: &[&[f32]]) -> Distances {
        /// The parts whose sums are held at once.
        const WINDOW: usize = 64;
        let (length, pairs) = (members[0].len(), pairs(members.len()));
        assert!(members.iter().all(|member| member.len() == length), "vectors of different lengths");
        let mut all = Distances::zero(members.len());
        let mut sums = vec![0.0; pairs * WINDOW.min(length.div_ceil(PART))];
        for first in (0..length).step_by(WINDOW * PART) {
            let parts = (length - first).div_ceil(PART).min(WINDOW);
            let sums = &mut sums[..pairs * parts];
            sums.fill(0.0);
            let cores = if length * members.len() < FEW { 1 } else { cores() };
            spread(cores, sums.chunks_mut(pairs.max(1)).enumerate(), |(part, sums)| {
                let start = first + part * PART;
                let rows: Vec<&[f32]> = members.iter().map(|row| &row[start..length.min(start + PART)]).collect();
                squared_distances_of_part(&rows, sums);
            });
            sums.chunks(pairs.max(1)).for_each(|of_part| all.add(of_part));
        }
        all
    }
}

/// Returns Σ n_k w_k / Σ n_k, summed in f64 in the order given and rounded once to f32 (McMahan 2017, Algorithm 1).
///
/// # Panics
/// Panics if `members` is empty or the vectors' lengths differ.
pub fn weighted_mean(members: &Members<'_>) -> Vec<f32> {
    combine(members, members.iter().map(|(n, _)| n).sum())
}

/// Returns Σ c_k x_k / `total`, summed in f64 in the order given and rounded once to f32.
///
/// The order is the caller's promise of the same bits: client order, never arrival.
fn combine(members: &Members<'_>, total: f64) -> Vec<f32> {
    let length = members[0].1.len();
    assert!(members.iter().all(|(_, vector)| vector.len() == length), "vectors of different lengths");
    let mut mean = vec![0.0_f32; length];
    element_wise(&mut mean, members.len(), |start, out| {
        let mut sums = [0.0_f64; BLOCK];
        for (index, out) in out.chunks_mut(BLOCK).enumerate() {
            sums.fill(0.0);
            add_block(members, start + index * BLOCK, &mut sums[..out.len()]);
            out.iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / total) as f32);
        }
    });
    mean
}

/// Adds n_k w_k of each member to the sums, for the elements from `start` on. Four members at a time, one after the
/// other, so that a sum is loaded and stored once for the four.
fn add_block(members: &[(f64, &[f32])], start: usize, sums: &mut [f64]) {
    let length = sums.len();
    let (fours, rest) = members.as_chunks::<4>();
    for four in fours {
        let [a, b, c, d] = four.map(|(_, weights)| &weights[start..start + length]);
        let n = four.map(|(n, _)| n);
        for (i, sum) in sums.iter_mut().enumerate() {
            let first = *sum + n[0] * f64::from(a[i]) + n[1] * f64::from(b[i]);
            *sum = first + n[2] * f64::from(c[i]) + n[3] * f64::from(d[i]);
        }
    }
    for (n, weights) in rest {
        sums.iter_mut().zip(&weights[start..]).for_each(|(sum, &w)| *sum += n * f64::from(w));
    }
}

/// Values that are read sooner than a thread starts.
const FEW: usize = 1 << 18;

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Fills `out` by `fill(start, part)`, on all cores if there is enough work. Each element must depend on its index
/// alone, so that the split into parts changes no result.
fn element_wise<T: Send>(out: &mut [T], members: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    let parts = (out.len() * members / FEW).clamp(1, cores());
    // Whole blocks, so that they are as few as in one part.
    let size = out.len().div_ceil(parts).next_multiple_of(BLOCK);
    spread(parts, out.chunks_mut(size).enumerate(), |(index, part)| fill(index * size, part));
}

#[cfg(test)]
mod tests {
    use fedpipe_strategy::vector_math::OneCore;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_closed_form() {
        let mean = weighted_mean(&[(1.0, &[1.0, -2.0, 0.5]), (3.0, &[5.0, 2.0, 0.5])]);
        assert_eq!(mean, [4.0, 1.0, 0.5]);
    }

    /// The README has the updates in one table and their means in another; `vectors.py` prints the means.
    #[test]
    fn means_are_those_of_the_readme_of_strategy_to_the_bit() {
        let readme = include_str!("../../../strategy/README.md");
        let numbers = |text: &str| -> Vec<f32> {
            text.replace('−', "-").split_whitespace().map(|value| value.parse().unwrap()).collect()
        };
        let rows_of =
            |prefix: String| readme.lines().filter_map(move |line| line.strip_prefix(&prefix)?.strip_suffix(" |"));
        for (round, clients) in [(1, 3), (2, 2)] {
            let updates = rows_of(format!("| {round} | ")).map(|row| row.split_once(" | ").unwrap());
            let updates: Vec<(f64, Vec<f32>)> = updates.map(|(n, w)| (n.parse().unwrap(), numbers(w))).collect();
            let members: Vec<(f64, &[f32])> = updates.iter().map(|(n, weights)| (*n, weights.as_slice())).collect();
            let mean = rows_of(format!("| mean of round {round} | ")).next().map(numbers).unwrap();
            assert_eq!((members.len(), weighted_mean(&members)), (clients, mean), "round {round}");
        }
    }

    #[test]
    fn one_rounding_at_the_end() {
        // Summed in f32 this would be 1: each half ulp would be rounded away.
        let half_ulp = f32::EPSILON / 2.0;
        let mean = weighted_mean(&[(1.0, &[1.0]), (1.0, &[1.0 + 2.0 * half_ulp])]);
        assert_eq!(mean, [1.0]);
        let mean = weighted_mean(&[(1.0, &[1.0]), (1.0, &[half_ulp]), (1.0, &[half_ulp])]);
        assert_eq!(mean, [((1.0 + f64::from(f32::EPSILON)) / 3.0) as f32]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Members that arrive in groups have the bits of members that are all there.
        #[test]
        fn a_running_mean_is_the_mean(groups in prop::collection::vec(1_usize..6, 1..4), length in prop_oneof![1_usize..3000, 200_000_usize..201_000]) {
            let value = |k: usize, i: usize| ((i * 7919 + k * 104_729) % 10_007) as f32 / 3.0e4 - 0.1;
            let count = groups.iter().sum();
            let vectors: Vec<Vec<f32>> = (0..count).map(|k| (0..length).map(|i| value(k, i)).collect()).collect();
            let members: Vec<(f64, &[f32])> = vectors.iter().zip(1..).map(|(w, n)| (f64::from(n * 17), w.as_slice())).collect();
            let mut running = RunningMean::default();
            let mut rest = members.as_slice();
            running.restart(3);
            running.add(&[(1.0, &[1.0, 2.0, 3.0])]);
            running.restart(length);
            for group in groups {
                let (now, later) = rest.split_at(group);
                running.add(now);
                rest = later;
            }
            let bits = |mean: Vec<f32>| mean.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            prop_assert_eq!(bits(running.mean()), bits(weighted_mean(&members)));
        }
    }

    proptest! {
        /// As many members and elements as give whole and odd blocks, groups of four and parts.
        #[test]
        fn it_is_the_sum_in_the_order_given(members in 1_usize..11, length in prop_oneof![1_usize..3000, 200_000_usize..201_000]) {
            let value = |k: usize, i: usize| ((i * 7919 + k * 104_729) % 10_007) as f32 / 3.0e4 - 0.1;
            let weights: Vec<Vec<f32>> = (0..members).map(|k| (0..length).map(|i| value(k, i)).collect()).collect();
            let counted: Vec<(f64, &[f32])> = weights.iter().zip(1..).map(|(w, n)| (f64::from(n * 17), w.as_slice())).collect();
            let total: f64 = counted.iter().map(|(n, _)| n).sum();
            let mean = weighted_mean(&counted);
            for (i, mean) in mean.iter().enumerate() {
                let sum = counted.iter().fold(0.0, |sum, (n, weights)| sum + n * f64::from(weights[i]));
                prop_assert_eq!(mean.to_bits(), ((sum / total) as f32).to_bits());
            }
        }

        /// The split is no part of a result.
        #[test]
        fn all_cores_agree_with_one(members in 1_usize..7, length in prop_oneof![1_usize..3000, 200_000_usize..201_000]) {
            let value = |k: usize, i: usize| ((i * 7919 + k * 104_729) % 10_007) as f32 / 3.0e4 - 0.1;
            let vectors: Vec<Vec<f32>> = (0..members).map(|k| (0..length).map(|i| value(k, i)).collect()).collect();
            let rows: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
            let counted: Vec<(f64, &[f32])> = rows.iter().zip(1..).map(|(row, n)| (f64::from(n) - 2.5, *row)).collect();
            prop_assert_eq!(AllCores.combine(&counted, 1.5), OneCore.combine(&counted, 1.5));
            let last = |rows: &[&[f32]], out: &mut [f32]| out.copy_from_slice(rows[rows.len() - 1]);
            prop_assert_eq!(AllCores.by_block(&rows, &last), OneCore.by_block(&rows, &last));
            let [first, last] = [rows[0], rows[members - 1]];
            prop_assert_eq!(AllCores.squared_distance(first, last), OneCore.squared_distance(first, last));
            prop_assert_eq!(AllCores.squared_distances(&rows), OneCore.squared_distances(&rows));
            let sets = [(0..members).collect(), vec![members - 1], (0..members.div_ceil(2)).collect()];
            prop_assert_eq!(AllCores.means(&rows, &sets), OneCore.means(&rows, &sets));
        }

        #[test]
        fn identical_updates_aggregate_to_themselves(
            weights in prop::collection::vec(-1e6_f32..1e6, 1..3000),
            counts in prop::collection::vec(1_u32..100_000, 1..9),
        ) {
            let members: Vec<_> = counts.iter().map(|&n| (f64::from(n), weights.as_slice())).collect();
            prop_assert_eq!(weighted_mean(&members), weights);
        }

        #[test]
        fn it_lies_between_its_members(a in -1e6_f32..1e6, b in -1e6_f32..1e6, n in 1_u32..1000, m in 1_u32..1000) {
            let mean = weighted_mean(&[(f64::from(n), &[a]), (f64::from(m), &[b])])[0];
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(low <= mean && mean <= high);
        }
    }
}
