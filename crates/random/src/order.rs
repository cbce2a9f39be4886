//! Whole numbers below a bound, and orders.
//!
//! [`below`] and [`shuffle`] are part of the public protocol: a client in another language that follows them sees its
//! examples in the same order.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use crate::key::{Key, unit};

/// Returns a number in `0..n` from one 32-bit word: `word * n / 2^32`, rounded down.
///
/// There is no rejection, so that a stream's position depends on the number of calls alone. The bias is at most
/// `n / 2^32`.
pub fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// Shuffles by Fisher–Yates from the end: for `i` from the last index down to 1, item `i` is swapped with item
/// `below(i + 1)`.
///
/// # Panics
/// Panics if there are more than `u32::MAX` items.
pub fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    let n = u32::try_from(items.len()).expect("at most u32::MAX items can be shuffled");
    for i in (1..n).rev() {
        items.swap(i as usize, below(rng, i + 1) as usize);
    }
}

/// Returns the numbers `0..n`, shuffled by the key's stream.
pub fn order(key: &Key, n: u32) -> Vec<u32> {
    let mut items: Vec<u32> = (0..n).collect();
    shuffle(&mut items, &mut key.rng());
    items
}

/// Returns the numbers of all `weights` in the order of successive draws without replacement, each with the probability
/// of its weight among the numbers that are left (Efraimidis and Spirakis 2006): by ln(u) / weight, the greatest first.
/// A weight of 0 comes last.
pub fn weighted_order(key: &Key, weights: &[u64]) -> Vec<u32> {
    let mut rng = key.rng();
    let mut keyed: Vec<(f64, u32)> = weights.iter().map(|&n| libm::log(unit(&mut rng)) / n as f64).zip(0..).collect();
    keyed.sort_by(|(a, one), (b, other)| b.total_cmp(a).then(one.cmp(other)));
    keyed.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Use;

    const KEY: Key = Key { seed: 1, purpose: Use::Shuffle, client: 3, round: 5, epoch: 2 };

    #[test]
    fn no_item_and_one_item_keep_their_order() {
        assert_eq!(order(&KEY, 0), [0_u32; 0]);
        assert_eq!(order(&KEY, 1), [0]);
    }

    /// The chance of each ordered pair is the product of two draws.
    #[test]
    fn a_weighted_order_has_the_chances_of_successive_draws() {
        let (weights, rounds) = ([1_u64, 2, 5, 0], 20_000_u64);
        let mut counts = [[0_u32; 4]; 4];
        for round in 0..rounds {
            let order = weighted_order(&Key { round, ..KEY }, &weights);
            assert_eq!(order[3], 3);
            counts[order[0] as usize][order[1] as usize] += 1;
        }
        for (first, second) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            let [a, b] = [first, second].map(|number: usize| weights[number] as f64);
            let expected = a / 8.0 * b / (8.0 - a);
            let found = f64::from(counts[first][second]) / rounds as f64;
            // Five standard deviations.
            assert!((found - expected).abs() < 5.0 * (expected / rounds as f64).sqrt(), "{first} {second}: {found}");
        }
    }

    #[test]
    fn every_field_of_the_key_changes_the_order() {
        let others = [
            Key { seed: 2, ..KEY },
            Key { purpose: Use::Sample, ..KEY },
            Key { client: 4, ..KEY },
            Key { round: 6, ..KEY },
            Key { epoch: 3, ..KEY },
        ];
        for other in others {
            assert_ne!(order(&other, 100), order(&KEY, 100), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn below_stays_below(seed: u64, n in 1_u32..) {
            let mut rng = Key { seed, ..KEY }.rng();
            for _ in 0..20 {
                prop_assert!(below(&mut rng, n) < n);
            }
        }

        #[test]
        fn an_order_has_every_number_once(seed: u64, n in 0_u32..500) {
            let mut order = order(&Key { seed, ..KEY }, n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }
}
