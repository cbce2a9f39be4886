//! Every random choice comes from ChaCha8, keyed by what the choice is for.
//!
//! The key layout, [`below`] and [`shuffle`] are part of the public protocol: a client in another language that follows
//! them sees its examples in the same order. The tests below hold the vectors.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a random choice is for. Each use has its own keys, so that changing one choice never shifts another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Use {
    /// Which client holds which example.
    Partition = 1,
    /// The initial weights.
    Initialise = 2,
    /// Which clients take part in a round.
    Sample = 3,
    /// The order of the examples in a local epoch.
    Shuffle = 4,
}

/// Names one random stream: two equal keys give equal streams on every machine.
///
/// Fields that a use has no need of are 0. The strategy is in no key, so that two strategies can be compared on the
/// same partitions, samples and orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// What the stream is for.
    pub purpose: Use,
    /// The client's number.
    pub client: u32,
    /// The round, from 1.
    pub round: u64,
    /// The local epoch; for [`Use::Partition`] the attempt, from 0, of a partitioner that draws again.
    pub epoch: u64,
}

impl Key {
    /// The 32-byte ChaCha8 key, little-endian: seed `u64`, purpose `u32`, client `u32`, round `u64`, epoch `u64`.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.purpose as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.client.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.round.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes
    }

    /// The stream: ChaCha with 8 rounds, nonce 0, counter from 0, its words read little-endian.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.bytes())
    }
}

/// A number in `0..n` from one 32-bit word: `word * n / 2^32`, rounded down.
///
/// There is no rejection, so that a stream's position depends on the number of calls alone; the bias is at most `n /
/// 2^32`.
pub fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// Fisher–Yates from the end: for `i` from the last index down to 1, swap `i` with `below(i + 1)`.
///
/// # Panics
/// Where there are more than `u32::MAX` items.
pub fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    let n = u32::try_from(items.len()).expect("at most u32::MAX items can be shuffled");
    for i in (1..n).rev() {
        items.swap(i as usize, below(rng, i + 1) as usize);
    }
}

/// The numbers `0..n`, shuffled by the key's stream.
pub fn order(key: &Key, n: u32) -> Vec<u32> {
    let mut items: Vec<u32> = (0..n).collect();
    shuffle(&mut items, &mut key.rng());
    items
}

/// A number in the open interval (0, 1): the top 52 bits of a 64-bit word, plus one half, over 2^52. (With 53 bits the half
/// would be rounded away, and the greatest number be 1.)
pub(crate) fn unit(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 12) as f64 + 0.5) / 4_503_599_627_370_496.0
}

#[cfg(test)]
mod tests;
