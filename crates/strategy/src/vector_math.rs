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

    /// Returns ‖a − b‖²: the sum of [`squared_distance_of_part`] over the parts of [`PART`] values, in their order.
    ///
    /// # Panics
    /// The lengths differ.
    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f64;

    /// Returns the squared distances of all pairs, by which a rule selects: the sums of [`squared_distances_of_part`]
    /// over the parts of [`PART`] values, in their order. Their relative error is below 10⁻⁵, and differences below
    /// 2⁻⁷⁵ count as 0.
    ///
    /// # Panics
    /// As for [`Math::combine`].
    fn squared_distances(&self, members: &[&[f32]]) -> Distances;
}

/// The values of a block whose sums are computed together.
pub const BLOCK: usize = 1024;

/// The values of a part of a vector, whose squared distances are one summand.
pub const PART: usize = 64 * STRIP;

/// The values of a strip, whose squares are summed in lanes.
const STRIP: usize = 256;

/// The values of a strip of many vectors. The strips of a hundred vectors fit in the second cache.
const PAIR_STRIP: usize = 512;

/// The lanes of the sum of a pair of many vectors. The number is part of the result.
const PAIR_LANES: usize = 32;

/// The values of a strip of many vectors, on the lines of a cache.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Strip([f32; PAIR_STRIP]);

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

/// Returns the squared distance of two vectors over some values.
///
/// The difference is taken in f64 before it is squared, so that near vectors have a distance. The values of a strip are
/// summed in lanes, the lanes in their order, and then the strips.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub fn squared_distance_of_part(one: &[f32], other: &[f32]) -> f64 {
    let of_strip = |(one, other): (&[f32], &[f32])| {
        let mut lanes = [0.0_f64; LANES];
        for (one, other) in one.chunks(LANES).zip(other.chunks(LANES)) {
            for ((lane, &a), &b) in lanes.iter_mut().zip(one).zip(other) {
                let difference = f64::from(a) - f64::from(b);
                *lane += difference * difference;
            }
        }
        lanes.iter().fold(0.0, |sum, lane| sum + lane)
    };
    one.chunks(STRIP).zip(other.chunks(STRIP)).map(of_strip).fold(0.0, |sum, strip| sum + strip)
}

/// Adds the squared distances of all pairs over some values of each vector to `sums`, which has one sum for each pair.
///
/// The difference is taken before it is squared, so that near vectors have a distance. The values of a strip are
/// summed in lanes of f32. The upper half of the lanes is added to the lower half until one is left; the strips are
/// summed in f64.
pub fn squared_distances_of_part(rows: &[&[f32]], sums: &mut [f64]) {
    let length = rows.first().map_or(0, |row| row.len());
    // Copies side by side, since the same values of long vectors compete for the same lines of a cache.
    let mut strips = vec![Strip([0.0; PAIR_STRIP]); rows.len()];
    let mut lanes = vec![[0.0; PAIR_LANES]; rows.len()];
    for start in (0..length).step_by(PAIR_STRIP) {
        let end = (start + PAIR_STRIP).min(length);
        for (Strip(strip), row) in strips.iter_mut().zip(rows) {
            strip[..end - start].copy_from_slice(&row[start..end]);
            strip[end - start..].fill(0.0);
        }
        let mut sums = &mut *sums;
        for (index, one) in strips.iter().enumerate() {
            let others = &strips[index + 1..];
            let (of_one, rest) = sums.split_at_mut(others.len());
            set_lanes(one, others, &mut lanes);
            add_lanes(&lanes, of_one);
            sums = rest;
        }
    }
}

/// Sets `lanes` to those of a strip's squared distances to some others.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn set_lanes(Strip(one): &Strip, others: &[Strip], lanes: &mut [[f32; PAIR_LANES]]) {
    for (Strip(other), lanes) in others.iter().zip(lanes) {
        let mut sums = [0.0; PAIR_LANES];
        for (a, b) in one.as_chunks::<PAIR_LANES>().0.iter().zip(other.as_chunks::<PAIR_LANES>().0) {
            for lane in 0..PAIR_LANES {
                let difference = a[lane] - b[lane];
                sums[lane] += difference * difference;
            }
        }
        *lanes = sums;
    }
}

/// Adds the sum of the lanes of each pair to the sum of the pair.
///
/// Compiled apart, and without the wide vectors of [`set_lanes`]: with them the compiler gathers the lanes of several
/// pairs from memory, which takes ten times as long.
#[inline(never)]
fn add_lanes(lanes: &[[f32; PAIR_LANES]], sums: &mut [f64]) {
    for (lanes, sum) in lanes.iter().zip(sums) {
        let mut lanes = *lanes;
        let mut half = PAIR_LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
            half /= 2;
        }
        *sum += f64::from(lanes[0]);
    }
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
            // Eight members at a time, one after the other, so that a sum is loaded and stored once for the eight.
            let (eights, rest) = set.as_chunks::<8>();
            for eight in eights {
                let near = eight.map(|member| &tiles[member]);
                for lane in 0..TILE {
                    sums[lane] = near.iter().fold(sums[lane], |sum, tile| sum + tile[lane]);
                }
            }
            for &member in rest {
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
        assert_eq!(a.len(), b.len(), "vectors of different lengths");
        let parts = a.chunks(PART).zip(b.chunks(PART));
        parts.fold(0.0, |sum, (a, b)| sum + squared_distance_of_part(a, b))
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
        for length in [1, 7, STRIP, STRIP + 1, PAIR_STRIP + 17, PART + 3] {
            let value = |row: usize, index: usize| ((index * 7919 + row * 104_729) % 10_007) as f32 / 3e4 - 0.1;
            let rows: Vec<Vec<f32>> = (0..7).map(|row| (0..length).map(|index| value(row, index)).collect()).collect();
            let all = OneCore.squared_distances(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for (i, j) in (0..7).flat_map(|i| (0..7).map(move |j| (i, j))) {
                let squares = rows[i]
                    .iter()
                    .zip(&rows[j])
                    .map(|(a, b)| f64::from(*a) - f64::from(*b))
                    .map(|difference| difference * difference);
                let expected: f64 = squares.sum();
                let one = OneCore.squared_distance(&rows[j], &rows[i]);
                assert!((one - expected).abs() <= 1e-12 * expected, "{i} {j} of {length}");
                assert!((all.of(i, j) - expected).abs() <= 1e-6 * expected, "{i} {j} of {length}");
                // The place of a pair has no part in it.
                assert_eq!(all.of(i, j), OneCore.squared_distances(&[&rows[j], &rows[i]]).of(0, 1));
            }
        }
    }

    #[test]
    fn the_mean_of_a_set_has_the_bits_of_a_combination() {
        for length in [1, TILE, 3 * TILE + 5] {
            let value = |row: usize, index: usize| ((index * 7919 + row * 104_729) % 10_007) as f32 / 3e4 - 0.1;
            let rows: Vec<Vec<f32>> = (0..19).map(|row| (0..length).map(|index| value(row, index)).collect()).collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let sets = [(0..19).collect(), (3..11).collect(), vec![3], vec![1, 4, 2], vec![1, 2, 4]];
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
        let (one, other) = ([1.0; 3], [1.0, 1.0 + f32::EPSILON, 1.0]);
        let square = f64::from(f32::EPSILON) * f64::from(f32::EPSILON);
        assert_eq!(OneCore.squared_distance(&one, &other), square);
        assert_eq!(OneCore.squared_distances(&[&one, &other]).of(0, 1), square);
    }
}
