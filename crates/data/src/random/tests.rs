//! The vectors that foreign clients check themselves against. They come from `vectors.py`, which
//! has ChaCha8 written out, and not from this crate.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const KEY: Key = Key { seed: 1, purpose: Use::Shuffle, client: 3, round: 5, epoch: 2 };

#[test]
fn the_key_is_laid_out_little_endian() {
    let expected = [1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(KEY.bytes(), expected);
}

#[test]
fn the_stream_is_chacha_with_8_rounds() {
    let mut rng = KEY.rng();
    assert_eq!([0; 4].map(|_: u32| rng.next_u32()), [0xbe43_68b3, 0xbbbf_a2a1, 0x1f62_f619, 0x2529_ca7a]);
}

#[test]
fn a_short_order() {
    assert_eq!(order(&KEY, 10), [5, 4, 2, 9, 3, 8, 1, 0, 6, 7]);
    let first_epoch = Key { seed: 0, purpose: Use::Shuffle, client: 0, round: 1, epoch: 1 };
    assert_eq!(order(&first_epoch, 10), [0, 3, 5, 8, 6, 1, 7, 4, 9, 2]);
}

/// Past the first blocks of the stream, with every field of the key at an extreme.
#[test]
fn a_long_order() {
    let key = Key { seed: u64::MAX, purpose: Use::Initialise, client: u32::MAX, round: 1 << 63, epoch: 7 };
    let order = order(&key, 60_000);
    assert_eq!(order[..5], [22937, 41287, 38279, 16740, 39781]);
    let bytes: Vec<u8> = order.iter().flat_map(|row| row.to_le_bytes()).collect();
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "16bb230bf887d803cdba38728be8056593b2892c01de18d7ccc73fa032babf3c");
}

#[test]
fn nothing_and_one_are_in_order() {
    assert_eq!(order(&KEY, 0), [0_u32; 0]);
    assert_eq!(order(&KEY, 1), [0]);
}

#[test]
fn every_field_of_the_key_counts() {
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

    #[test]
    fn unit_is_inside_the_open_interval(seed: u64) {
        let value = unit(&mut Key { seed, ..KEY }.rng());
        prop_assert!(value > 0.0 && value < 1.0);
    }
}
