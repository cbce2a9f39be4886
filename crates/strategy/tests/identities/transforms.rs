//! Identities of transforms: the error, the bytes and the residual of an update that comes through a frame.

use fedpipe_protocol::{Parts, read, write};
use fedpipe_random::key::{Key, Use};
use fedpipe_strategy::transform::{Encoded, chain::Transforms};
use proptest::prelude::*;

use crate::federation::{distance, norm};

proptest! {
    /// A decoded value is one of the two levels around the value, and the frame has the bytes of the payload.
    #[test]
    fn int8_is_off_by_less_than_a_level_and_counts_its_bytes(
        change in prop::collection::vec(-1.0..1.0_f32, 1..40),
        bucket in 1..20_usize,
        round in 1..1000_u64,
    ) {
        let rule: Transforms = format!("int8:bucket={bucket}").parse().unwrap();
        let Carried { change: decoded, bytes, residual } = carried(&rule, &change, &[], round);
        prop_assert_eq!((bytes, residual), (rule.payload(change.len()), None));
        prop_assert_eq!(bytes as usize, change.len() + 4 * change.len().div_ceil(bucket));
        for (values, decoded) in change.chunks(bucket).zip(decoded.chunks(bucket)) {
            let level = values.iter().map(|value| value.abs()).fold(0.0, f32::max) / 127.0;
            prop_assert!(distance(values, decoded) <= f64::from(level) * 1.000_001);
        }
    }

    /// No rounding lifts the norm above the bound. A change within the bound keeps its bits.
    #[test]
    fn a_clipped_change_is_within_its_bound(change in prop::collection::vec(-1e3..1e3_f32, 1..40), bound in 1e-3..1e4_f64) {
        let rule: Transforms = format!("clip:norm={bound}").parse().unwrap();
        let clipped = carried(&rule, &change, &[], 1).change;
        prop_assert!(norm(&clipped) <= bound * (1.0 + 1e-12), "{} > {}", norm(&clipped), bound);
        if norm(&change) <= bound {
            prop_assert_eq!(bits(&clipped), bits(&change));
        } else {
            prop_assert!(norm(&clipped) >= bound * (1.0 - 1e-6), "{} < {}", norm(&clipped), bound);
            prop_assert!(clipped.iter().zip(&change).all(|(now, before)| now * before >= 0.0));
        }
    }

    /// Nothing of the changes is lost: each value of change + residual is either sent or the new residual, as it is.
    #[test]
    fn topk_sends_the_greatest_values_and_keeps_the_rest(
        changes in prop::collection::vec(prop::collection::vec(-1.0..1.0_f32, 17), 1..6),
        fraction in 0.01..1.0_f64,
    ) {
        let rule: Transforms = format!("topk:{fraction}").parse().unwrap();
        let mut residual = vec![0.0; 17];
        for change in &changes {
            let due: Vec<f32> = change.iter().zip(&residual).map(|(value, left)| value + left).collect();
            let Carried { change: sent, bytes, residual: left } = carried(&rule, change, &residual, 1);
            let left = left.unwrap();
            prop_assert!(sent.iter().zip(&left).all(|(sent, left)| *sent == 0.0 || *left == 0.0));
            prop_assert_eq!(&sent.iter().zip(&left).map(|(sent, left)| sent + left).collect::<Vec<_>>(), &due);
            prop_assert_eq!(bytes, 8 * (17.0 * fraction).ceil() as u64);
            let least = sent.iter().map(|value| value.abs()).filter(|value| *value > 0.0).fold(f32::MAX, f32::min);
            prop_assert!(left.iter().all(|value| value.abs() <= least));
            // Stich 2018, definition 2.1.
            prop_assert!(norm(&left).powi(2) <= (1.0 - fraction).max(0.0) * norm(&due).powi(2) * (1.0 + 1e-12));
            residual = left;
        }
    }

    #[test]
    fn topk_of_all_weights_is_no_transform(change in prop::collection::vec(any::<f32>(), 1..40), feedback: bool) {
        let rule: Transforms = format!("topk:fraction=1,feedback={feedback}").parse().unwrap();
        let Carried { change: decoded, residual, .. } = carried(&rule, &change, &[], 1);
        prop_assert_eq!(bits(&decoded), bits(&change));
        prop_assert_eq!(residual, feedback.then(|| vec![0.0; change.len()]));
    }
}

/// The mean of many encodings is the change, within five standard errors.
#[test]
fn int8_is_unbiased() {
    let change = [0.7_f32, -0.31, 1e-3, 0.0, -0.9, 0.123];
    let rule: Transforms = "int8:bucket=4".parse().unwrap();
    const DRAWS: u64 = 4000;
    let draws: Vec<Vec<f32>> = (1..=DRAWS).map(|round| carried(&rule, &change, &[], round).change).collect();
    for (index, value) in change.iter().enumerate() {
        let sum: f64 = draws.iter().map(|decoded| f64::from(decoded[index])).sum();
        let mean = sum / DRAWS as f64;
        let squares: f64 = draws.iter().map(|decoded| (f64::from(decoded[index]) - mean).powi(2)).sum();
        let error = (squares / DRAWS as f64 / DRAWS as f64).sqrt();
        assert!((mean - f64::from(*value)).abs() <= 5.0 * error + 1e-7, "{value}: {mean} ± {error}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A change that came through a frame.
struct Carried {
    change: Vec<f32>,
    /// The bytes of its parts.
    bytes: u64,
    residual: Option<Vec<f32>>,
}

/// Encodes a change, sends it through a frame and decodes it.
fn carried(rule: &Transforms, change: &[f32], residual: &[f32], round: u64) -> Carried {
    let key = Key { seed: 1, purpose: Use::Transform, client: 2, round, epoch: 0 };
    let Encoded { parts: encoded, residual } = rule.encode(change.to_vec(), residual, &key);
    let parts: Vec<_> = encoded.iter().map(|(name, data)| data.as_part(name)).collect();
    let bytes = parts.iter().map(|part| part.bytes().len() as u64).sum();
    let mut frame = Vec::new();
    write(&mut frame, &"", &parts).unwrap();
    let (_, mut parts): (String, Parts) =
        read(&mut frame.as_slice(), fedpipe_protocol::Limits::reply(1 << 20)).unwrap();
    Carried { change: rule.decode(&mut parts, change.len()).unwrap(), bytes, residual }
}
