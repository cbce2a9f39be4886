//! Keys: each random choice has a ChaCha8 stream of its own, named by the purpose of the choice.
//!
//! The key layout is part of the public protocol: a client in another language derives the same streams from it.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// The purpose of a random choice. Each use has its own keys, so that changing one choice never shifts another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Use {
    /// The client that holds an example.
    Partition = 1,
    /// The clients that take part in a round.
    Sample = 3,
    /// The order of the examples in a local epoch.
    Shuffle = 4,
    /// The rows of a partition, or the clients, that are kept out of training.
    Holdout = 5,
    /// The rounding of an update that a transform encodes.
    Transform = 6,
    /// The training rows on which received weights are scored.
    Score = 7,
    /// The noise that a partition scheme adds to the features of a client.
    FeatureNoise = 8,
    /// The examples of a generated dataset.
    Generate = 9,
    /// The values that dropout sets to 0 in a training step; see [`Key::step_rng`].
    Dropout = 10,
    /// The examples of the test set, where the files have none.
    TestSplit = 11,
    /// The order of the updates that a pre-aggregator cuts into buckets.
    Aggregate = 15,
    /// The clients that attack, and the noise in their updates.
    Attack = 16,
    /// The local work of a client in a round.
    LocalWork = 17,
    /// The speed and the link of a simulated client.
    Clock = 20,
    /// The initial weights of a tensor; see [`Key::initial`].
    Initialise = u32::from_le_bytes(*b"nn-i"),
}

/// The name of one random stream: two equal keys give equal streams on every machine.
///
/// Fields that a use does not need are 0. The strategy is in no key, so that two strategies can be compared on the
/// same partitions, samples and orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The seed of the use: a run has one for partitions, initial weights and samples each, and one for the rest.
    pub seed: u64,
    /// The purpose of the stream.
    pub purpose: Use,
    /// The client's number.
    pub client: u32,
    /// The round, from 1; for [`Use::Initialise`] the tensor's number in its layout.
    pub round: u64,
    /// The local epoch; for [`Use::Partition`] the attempt, from 0, of a partitioner that draws again. It is 1 for the
    /// clients of [`Use::Holdout`], and for those of [`Use::Sample`] that are scored; their other draws have 0.
    pub epoch: u64,
}

impl Key {
    /// Returns the key of a tensor's initial weights. The client field holds the bytes `nit\0`, which complete the tag
    /// `nn-init\0` that [`Use::Initialise`] begins.
    pub fn initial(seed: u64, tensor: u64) -> Self {
        let client = u32::from_le_bytes(*b"nit\0");
        Self { seed, purpose: Use::Initialise, client, round: tensor, epoch: 0 }
    }

    /// Returns the 32-byte ChaCha8 key, little-endian: seed `u64`, purpose `u32`, client `u32`, round `u64`, epoch
    /// `u64`.
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0..8].copy_from_slice(&self.seed.to_le_bytes());
        bytes[8..12].copy_from_slice(&(self.purpose as u32).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.client.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.round.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes
    }

    /// Returns the stream: ChaCha with 8 rounds, nonce 0, counter from 0, its words read little-endian.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.bytes())
    }

    /// Returns the stream of one dropout in one step of a local epoch. The nonce is the step, then the number of the
    /// dropout, as two little-endian `u32`.
    pub fn step_rng(&self, step: u32, dropout: u32) -> ChaCha8Rng {
        let mut rng = self.rng();
        rng.set_stream(u64::from(dropout) << 32 | u64::from(step));
        rng
    }
}

/// Returns a number in the open interval (0, 1): the top 52 bits of a 64-bit word, plus one half, over 2^52. (With 53
/// bits the half would be rounded away, and the greatest number would be 1.)
pub fn unit(rng: &mut ChaCha8Rng) -> f64 {
    ((rng.next_u64() >> 12) as f64 + 0.5) * f64::EPSILON
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Key = Key { seed: 1, purpose: Use::Shuffle, client: 3, round: 5, epoch: 2 };

    #[test]
    fn the_key_is_laid_out_little_endian() {
        let expected = [1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(KEY.bytes(), expected);
        let initial = *b"\x07\0\0\0\0\0\0\0nn-init\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(Key::initial(7, 2).bytes(), initial);
    }

    proptest! {
        #[test]
        fn unit_is_inside_the_open_interval(seed: u64) {
            let value = unit(&mut Key { seed, ..KEY }.rng());
            prop_assert!(value > 0.0 && value < 1.0);
        }
    }
}
