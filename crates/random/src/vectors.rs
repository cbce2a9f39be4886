//! A test of the table in the README, which `vectors.py` prints without this crate.

use rand_chacha::{ChaCha8Rng, rand_core::Rng};
use sha2::{Digest, Sha256};

use crate::{
    gamma::{ln_gamma_sample, shares},
    key::{Key, Use, unit},
    normal::{quantile, standard},
    order::{below, order, weighted_order},
};

const A: Key = Key { seed: 1, purpose: Use::Shuffle, client: 3, round: 5, epoch: 2 };
const C: Key = Key { seed: 1, purpose: Use::Partition, client: 0, round: 0, epoch: 0 };

/// Returns the value of a vector in the README.
fn written(name: &str) -> &'static str {
    let prefix = format!("| {name} | ");
    let row = include_str!("../README.md").lines().find_map(|line| line.strip_prefix(&prefix));
    row.unwrap_or_else(|| panic!("the README has no vector {name:?}")).trim_end_matches(" |")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spaced<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// Compares numbers with the 12 digits of the README.
fn assert_written(name: &str, values: &[f64]) {
    let expected: Vec<f64> = written(name).split(", ").map(|value| value.parse().unwrap()).collect();
    assert_eq!(values.len(), expected.len(), "{name}");
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() <= 1e-11 * expected.abs(), "{name}: {value}, but the README has {expected}");
    }
}

#[test]
fn keys_words_and_orders_are_those_of_the_readme() {
    assert_eq!(hex(&A.bytes()), written("key A: seed 1, use 4, client 3, round 5, epoch 2"));
    assert_eq!(hex(&Key::initial(0, 0).bytes()), written("key B: initial weights, seed 0, tensor 0"));
    assert_eq!(hex(&C.bytes()), written("key C: seed 1, use 1"));
    let mut rng = A.rng();
    assert_eq!(spaced(&[0; 4].map(|_| format!("{:08x}", rng.next_u32()))), written("words under A"));
    let mut rng = Key { purpose: Use::Dropout, ..A }.step_rng(7, 2);
    let name = "words of step 7, dropout 2: seed 1, use 10, client 3, round 5, epoch 2";
    assert_eq!(spaced(&[0; 4].map(|_| format!("{:08x}", rng.next_u32()))), written(name));
    let mut rng = A.rng();
    let bounded = [10, 100, 1000, u32::MAX].map(|n| below(&mut rng, n));
    assert_eq!(spaced(&bounded), written("`below` 10, 100, 1000, 4294967295 under A"));
    assert_eq!(spaced(&order(&A, 10)), written("order of 10 under A"));
    let weighted = weighted_order(&A, &[3, 1, 4, 1, 5, 9, 2, 6]);
    assert_eq!(spaced(&weighted), written("order by the weights 3, 1, 4, 1, 5, 9, 2, 6 under A"));
    let first = Key { seed: 0, purpose: Use::Shuffle, client: 0, round: 1, epoch: 1 };
    assert_eq!(spaced(&order(&first, 10)), written("order of 10: seed 0, use 4, client 0, round 1, epoch 1"));
    let test_set = Key { seed: 1, purpose: Use::TestSplit, client: 0, round: 0, epoch: 0 };
    assert_eq!(spaced(&order(&test_set, 10)), written("order of 10: seed 1, use 11"));
}

/// Reads past the first blocks of the stream, with every field of the key at an extreme.
#[test]
fn a_long_order_is_that_of_the_readme() {
    let key = Key { seed: u64::MAX, purpose: Use::Sample, client: u32::MAX, round: 1 << 63, epoch: 7 };
    let bytes: Vec<u8> = order(&key, 60_000).iter().flat_map(|row| row.to_le_bytes()).collect();
    let name = "order of 60,000: seed 2⁶⁴ − 1, use 3, client 2³² − 1, round 2⁶³, epoch 7; SHA-256 of its u32";
    assert_eq!(hex(&Sha256::digest(&bytes)), written(name));
}

#[test]
fn uniform_normal_and_gamma_numbers_are_those_of_the_readme() {
    let drawn = |key: Key, draw: fn(&mut ChaCha8Rng) -> f64, count: usize| -> Vec<f64> {
        let mut rng = key.rng();
        (0..count).map(|_| draw(&mut rng)).collect()
    };
    assert_written("uniform numbers under B", &drawn(Key::initial(0, 0), unit, 3));
    assert_written("normal numbers under B", &drawn(Key::initial(0, 0), standard, 4));
    assert_written("quantile of 2⁻⁵³", &[quantile(0.5 * f64::EPSILON)]);
    let mut rng = C.rng();
    let logarithms = [0.1, 0.5, 1.0, 5.0].map(|shape| ln_gamma_sample(shape, &mut rng));
    assert_written("logarithms of gamma samples of shape 0.1, 0.5, 1 and 5 under C", &logarithms);
    assert_written("shares of alpha 0.3 among 3 under C", &shares(0.3, &[true; 3], &mut C.rng()));
    let one_closed = shares(0.3, &[true, false, true], &mut C.rng());
    assert_written("shares of alpha 0.3 among 3 under C, the second closed", &one_closed);
}
