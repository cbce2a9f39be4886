//! Sums over the vectors of a round. A rule says which sums it needs; the host splits them over its cores.

use multiversion::multiversion;

/// The vectors of a round, in client order, each with its coefficient.
pub type Members<'a> = [(f64, &'a [f32])];

/// A rule that makes a block of a vector from the same block of all members.
pub type BlockRule<'a> = dyn Fn(&[&[f32]], &mut [f32]) + Sync + 'a;

/// The arithmetic over all updates of a round. The result is the same for every split over cores.
pub trait Math {
    /// Returns Σ c_k x_k / `total` for each element: summed in f64 in the order given, rounded once to f32.
    ///
    /// # Panics
    /// `members` is empty, or the vectors' lengths differ.
    fn combine(&self, members: &Members<'_>, total: f64) -> Vec<f32>;

    /// Returns the vector that `rule` makes block by block.
    ///
    /// # Panics
    /// As for [`Math::combine`].
    fn by_block(&self, members: &[&[f32]], rule: &BlockRule<'_>) -> Vec<f32>;

    /// Returns the equal mean of each of some sets of the members, which names their places: summed in f64 in the order
    /// given, rounded once to f32. Each has the bits of [`Math::combine`] with coefficients of 1.
    ///
    /// # Panics
    /// As for [`Math::combine`], and for a place without a member.
    fn means(&self, members: &[&[f32]], sets: &[Vec<usize>]) -> Vec<Vec<f32>>;

    /// Returns ‖a − b‖²: a sum over the parts of [`PART`] values, in the order of the parts. The sum of a part is that
    /// of its blocks by [`squared_distances_of_part`].
    ///
    /// # Panics
    /// The lengths differ.
    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f64;

    /// Returns the squared distances of all pairs. Each has the bits of [`Math::squared_distance`].
    ///
    /// # Panics
    /// As for [`Math::combine`].
    fn squared_distances(&self, members: &[&[f32]]) -> Distances;
}

/// The values of a block whose sums are computed together.
pub const BLOCK: usize = 1024;

/// The values of a part of a vector, whose squared distances are one summand.
pub const PART: usize = 64 * STRIP;

/// The values of a strip, whose squares are summed in lanes. The strips of a hundred vectors fit in the second cache.
const STRIP: usize = 256;

/// The values of a tile, whose sums stay in registers. The tiles of a hundred vectors fit in the first cache.
const TILE: usize = 32;

/// The lanes of a sum: lane l has the values l, l + 16, …. The number is part of the result.
const LANES: usize = 16;

/// The squared distances of the pairs of some vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Distances {
    count: usize,
    /// Those of the pairs (0, 1), (0, 2), …, (1, 2), ….
    pairs: Vec<f64>,
}

impl Distances {
    /// Returns distances of 0.
    pub fn zero(count: usize) -> Self {
        Self { count, pairs: vec![0.0; pairs(count)] }
    }

    /// Adds those of a part of the vectors.
    pub fn add(&mut self, of_part: &[f64]) {
        self.pairs.iter_mut().zip(of_part).for_each(|(sum, part)| *sum += part);
    }

    /// Returns the squared distance of two vectors.
    pub fn of(&self, one: usize, other: usize) -> f64 {
        let (low, high) = (one.min(other), one.max(other));
        if low == high { 0.0 } else { self.pairs[low * (2 * self.count - low - 1) / 2 + high - low - 1] }
    }
}

/// Returns the number of pairs of so many vectors.
pub fn pairs(count: usize) -> usize {
    count * count.saturating_sub(1) / 2
}

/// Adds the squared distances of all pairs over some values of each vector to `sums`, which has one sum for each pair.
///
/// The difference is taken in f64 before it is squared, so that near vectors have a distance. The values of a strip are
/// summed in lanes, the lanes in their order, and then the strips.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub fn squared_distances_of_part(rows: &[&[f32]], sums: &mut [f64]) {
    let length = rows.first().map_or(0, |row| row.len());
    let mut strips = vec![[0.0_f64; STRIP]; rows.len()];
    for start in (0..length).step_by(STRIP) {
        let end = (start + STRIP).min(length);
        for (strip, row) in strips.iter_mut().zip(rows) {
            strip[end - start..].fill(0.0);
            strip.iter_mut().zip(&row[start..end]).for_each(|(wide, &value)| *wide = f64::from(value));
        }
        let mut sums = sums.iter_mut();
        for (index, one) in strips.iter().enumerate() {
            let others = strips[index + 1..].iter();
            others.zip(&mut sums).for_each(|(other, sum)| *sum += squared_distance_of_strip(one, other));
        }
    }
}

#[inline(always)]
fn squared_distance_of_strip(one: &[f64; STRIP], other: &[f64; STRIP]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    for (a, b) in one.as_chunks::<LANES>().0.iter().zip(other.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let difference = a[lane] - b[lane];
            lanes[lane] += difference * difference;
        }
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane)
}

/// Sets `outs` to the means of the sets over some values of each vector, one vector for each set.
///
/// All sets are summed while the caches have a tile of every vector, so that each vector is read once.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub fn means_of_part(rows: &[&[f32]], sets: &[Vec<usize>], outs: &mut [&mut [f32]]) {
    let length = rows.first().map_or(0, |row| row.len());
    let mut tiles = vec![[0.0_f64; TILE]; rows.len()];
    for start in (0..length).step_by(TILE) {
        let end = (start + TILE).min(length);
        for (tile, row) in tiles.iter_mut().zip(rows) {
            tile.iter_mut().zip(&row[start..end]).for_each(|(wide, &value)| *wide = f64::from(value));
        }
        for (set, out) in sets.iter().zip(outs.iter_mut()) {
            let mut sums = [0.0_f64; TILE];
            for &member in set {
                let tile = &tiles[member];
                for lane in 0..TILE {
                    sums[lane] += tile[lane];
                }
            }
            let count = set.len() as f64;
            out[start..end].iter_mut().zip(&sums).for_each(|(out, sum)| *out = (sum / count) as f32);
        }
    }
}

/// Returns ‖x‖, summed in f64 in the order of the values.
pub(crate) fn length(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |sum, &value| sum + f64::from(value) * f64::from(value)).sqrt()
}

/// The arithmetic on one core: the reference for the host's, and enough for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneCore;

impl Math for OneCore {
    fn combine(&self, members: &Members<'_>, total: f64) -> Vec<f32> {
        let sum = |index: usize| members.iter().fold(0.0, |sum, (c, x)| sum + c * f64::from(x[index]));
        (0..members[0].1.len()).map(|index| (sum(index) / total) as f32).collect()
    }

    fn by_block(&self, members: &[&[f32]], rule: &BlockRule<'_>) -> Vec<f32> {
        let mut out = vec![0.0; members[0].len()];
        rule(members, &mut out);
        out
    }

    fn means(&self, members: &[&[f32]], sets: &[Vec<usize>]) -> Vec<Vec<f32>> {
        let mut all = vec![vec![0.0; members[0].len()]; sets.len()];
        means_of_part(members, sets, &mut all.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>());
        all
    }

    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f64 {
        self.squared_distances(&[a, b]).of(0, 1)
    }

    fn squared_distances(&self, members: &[&[f32]]) -> Distances {
        let length = members[0].len();
        assert!(members.iter().all(|member| member.len() == length), "vectors of different lengths");
        let mut all = Distances::zero(members.len());
        for start in (0..length).step_by(PART) {
            let rows: Vec<&[f32]> = members.iter().map(|row| &row[start..length.min(start + PART)]).collect();
            let mut sums = vec![0.0; pairs(members.len())];
            squared_distances_of_part(&rows, &mut sums);
            all.add(&sums);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_sums_of_squares_whatever_the_length() {
        for length in [1, 7, STRIP, STRIP + 1, PART + 3] {
            let value = |row: usize, index: usize| ((index * 7919 + row * 104_729) % 10_007) as f32 / 3e4 - 0.1;
            let rows: Vec<Vec<f32>> = (0..4).map(|row| (0..length).map(|index| value(row, index)).collect()).collect();
            let all = OneCore.squared_distances(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for (i, j) in [(0, 1), (0, 3), (2, 1), (3, 2), (2, 2)] {
                let squares = rows[i]
                    .iter()
                    .zip(&rows[j])
                    .map(|(a, b)| f64::from(*a) - f64::from(*b))
                    .map(|difference| difference * difference);
                let expected: f64 = squares.sum();
                assert!((all.of(i, j) - expected).abs() <= 1e-12 * expected, "{i} {j} of {length}");
                assert_eq!(all.of(i, j), OneCore.squared_distance(&rows[j], &rows[i]));
            }
        }
    }

    #[test]
    fn the_mean_of_a_set_has_the_bits_of_a_combination() {
        for length in [1, TILE, 3 * TILE + 5] {
            let value = |row: usize, index: usize| ((index * 7919 + row * 104_729) % 10_007) as f32 / 3e4 - 0.1;
            let rows: Vec<Vec<f32>> = (0..5).map(|row| (0..length).map(|index| value(row, index)).collect()).collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let sets = [vec![0, 1, 2, 3, 4], vec![3], vec![1, 4, 2], vec![1, 2, 4]];
            let combined = sets.each_ref().map(|set| {
                let members: Vec<_> = set.iter().map(|&place| (1.0, rows[place])).collect();
                OneCore.combine(&members, set.len() as f64)
            });
            assert_eq!(OneCore.means(&rows, &sets), combined, "{length}");
        }
    }

    /// ‖x‖² + ‖y‖² − 2xy would be 0 or negative here.
    #[test]
    fn near_vectors_have_their_distance() {
        let one = 1.0 + f32::EPSILON;
        assert_eq!(
            OneCore.squared_distance(&[1.0; 3], &[1.0, one, 1.0]),
            f64::from(f32::EPSILON) * f64::from(f32::EPSILON)
        );
    }
}
