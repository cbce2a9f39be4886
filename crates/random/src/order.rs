//! Whole numbers below a bound, and orders.
//!
//! [`below`] and [`shuffle`] are part of the public protocol: a client in another language that follows them sees its
//! examples in the same order.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use crate::key::Key;

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
