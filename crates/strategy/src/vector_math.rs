//! Sums over the vectors of a round. A rule says which sums it needs; the host splits them over its cores.

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

    /// Returns ‖a − b‖²: the sums of [`squared_distance_of_block`] over blocks of [`BLOCK`] values, added in the order
    /// of the blocks.
    ///
    /// # Panics
    /// The lengths differ.
    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f64;
}

/// The values of a block whose sum is one part of a sum over a vector.
pub const BLOCK: usize = 1024;

/// Returns Σ (a − b)² in f64, in the order of the values. The difference is taken before it is squared, so that near
/// vectors have a distance.
pub fn squared_distance_of_block(a: &[f32], b: &[f32]) -> f64 {
    sum_of_squares(a.iter().zip(b).map(|(&a, &b)| f64::from(a) - f64::from(b)))
}

/// Returns ‖x‖, summed in f64 in the order of the values.
pub(crate) fn length(values: &[f32]) -> f64 {
    sum_of_squares(values.iter().map(|&value| f64::from(value))).sqrt()
}

fn sum_of_squares(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value * value)
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

    fn squared_distance(&self, a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len(), "vectors of different lengths");
        let blocks = a.chunks(BLOCK).zip(b.chunks(BLOCK));
        blocks.fold(0.0, |sum, (a, b)| sum + squared_distance_of_block(a, b))
    }
}
