//! Stochastic quantisation to 8 bits, QSGD (Alistarh 2017, section 3.1).
//!
//! The change is cut into buckets. Each has a scale: the greatest magnitude of its values, or their Euclidean norm. A
//! value v becomes the level ⌊|v| · 127 / scale⌋ with the sign of v, plus 1 with the probability of the rest. The
//! expectation of the decoded value is v. A bucket of zeros has the scale 0.

use std::sync::Arc;

use fedpipe_protocol::{PartData, Parts};
use fedpipe_random::key::{Key, unit};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Encoded, Encoding, Transform};
use crate::vector_math::length;

const BUCKET: Parameter = Parameter {
    key: "bucket",
    default: Some(Value::Number(512.0)),
    range: Range::Count,
    help: "the number of values that share a scale",
};
const NORM: Parameter = Parameter {
    key: "l2",
    default: Some(Value::Flag(false)),
    range: Range::Flag,
    help: "true scales by the Euclidean norm, as in the paper, false by the greatest magnitude",
};

pub(super) const FEATURE: &str = "compress:int8";

pub(super) const ROW: TableRow<Transform> = TableRow {
    name: "int8",
    summary: "stochastic quantisation of the change to 8 bits a weight",
    parameters: &[BUCKET, NORM],
    source: "Alistarh 2017, section 3.1",
    build: |values| {
        let rule = Int8 { bucket: values.count("bucket") as usize, l2: values.flag("l2") };
        Arc::new(Transform::Encoding(Box::new(rule)))
    },
};

/// The greatest level.
const LEVELS: f64 = 127.0;
/// The part of the levels: one signed byte a weight, in layout order.
const LEVELS_PART: &str = "levels";
/// The part of the scales: one 32-bit float a bucket.
const SCALES_PART: &str = "scales";

#[derive(Debug)]
struct Int8 {
    bucket: usize,
    l2: bool,
}

impl Int8 {
    /// Returns the scale of a bucket; NaN for a bucket with a value that no level has, so that the host refuses it.
    fn scale(&self, values: &[f32]) -> f32 {
        if values.iter().any(|value| !value.is_finite()) {
            return f32::NAN;
        }
        if self.l2 {
            return length(values) as f32;
        }
        values.iter().map(|v| v.abs()).fold(0.0, |most, v| if v > most { v } else { most })
    }
}

impl Encoding for Int8 {
    fn feature(&self) -> &'static str {
        FEATURE
    }

    fn encode(&self, change: Vec<f32>, _: &[f32], key: &Key) -> Encoded {
        let mut rng = key.rng();
        let (mut levels, mut scales) = (Vec::with_capacity(change.len()), Vec::new());
        for values in change.chunks(self.bucket) {
            let scale = self.scale(values);
            scales.push(scale);
            levels.extend(values.iter().map(|&value| {
                // One number a value, whatever its bucket, so that the stream's position is the value's.
                let draw = unit(&mut rng);
                let exact = if scale > 0.0 { f64::from(value).abs() * LEVELS / f64::from(scale) } else { 0.0 };
                let whole = exact.floor();
                let level = if draw < exact - whole { whole + 1.0 } else { whole }.min(LEVELS);
                (if value < 0.0 { -level } else { level }) as i8 as u8
            }));
        }
        Encoded::stateless(vec![(LEVELS_PART, PartData::U8(levels)), (SCALES_PART, PartData::F32(scales))])
    }

    fn decode(&self, parts: &mut Parts, length: usize) -> Result<Vec<f32>, String> {
        let levels = parts.take_u8(LEVELS_PART).filter(|levels| levels.len() == length);
        let levels = levels.ok_or_else(|| format!("it has no part {LEVELS_PART:?} of the length {length}"))?;
        let buckets = length.div_ceil(self.bucket);
        let scales = parts.take_f32(SCALES_PART).filter(|scales| scales.len() == buckets);
        let scales = scales.ok_or_else(|| format!("it has no part {SCALES_PART:?} of the length {buckets}"))?;
        let value = |level: u8, scale: f32| (f64::from(level.cast_signed()) * f64::from(scale) / LEVELS) as f32;
        let decoded = levels
            .chunks(self.bucket)
            .zip(scales)
            .flat_map(|(levels, scale)| levels.iter().map(move |&level| value(level, scale)));
        Ok(decoded.collect())
    }

    fn payload(&self, length: usize) -> u64 {
        (length + 4 * length.div_ceil(self.bucket)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{self, written};

    fn key(round: u64) -> Key {
        Key { round, ..testing::key() }
    }

    /// Encodes, sends through a frame and decodes.
    fn carried(rule: &Int8, change: &[f32], round: u64) -> (Vec<f32>, u64) {
        let encoded = rule.encode(change.to_vec(), &[], &key(round)).parts;
        let parts: Vec<_> = encoded.iter().map(|(name, data)| data.as_part(name)).collect();
        let bytes = parts.iter().map(|part| part.bytes().len() as u64).sum();
        let mut frame = Vec::new();
        fedpipe_protocol::write(&mut frame, &"", &parts).unwrap();
        let limits = fedpipe_protocol::Limits::reply(1 << 20);
        let (_, mut parts) = fedpipe_protocol::read::<String>(&mut frame.as_slice(), limits).unwrap();
        (rule.decode(&mut parts, change.len()).unwrap(), bytes)
    }

    #[test]
    fn the_mean_of_many_encodings_is_the_change() {
        let change = [0.5_f32, -0.3, 1e-3, 0.0, 0.9];
        for l2 in [false, true] {
            let rule = Int8 { bucket: 3, l2 };
            const DRAWS: u64 = 2000;
            let mut sums = [(0.0_f64, 0.0_f64); 5];
            for round in 0..DRAWS {
                for (sum, value) in sums.iter_mut().zip(carried(&rule, &change, round).0) {
                    *sum = (sum.0 + f64::from(value), sum.1 + f64::from(value) * f64::from(value));
                }
            }
            for (&expected, (sum, squares)) in change.iter().zip(sums) {
                let mean = sum / DRAWS as f64;
                let error = ((squares / DRAWS as f64 - mean * mean).max(0.0) / DRAWS as f64).sqrt();
                assert!((mean - f64::from(expected)).abs() <= 5.0 * error + 1e-7, "{expected}: {mean} ± {error}");
            }
        }
    }

    #[test]
    fn a_change_that_the_levels_represent_keeps_its_bits() {
        let change = [127.0_f32, -64.0, 0.0, 1.0, 0.0, 0.0, -254.0];
        let rule = Int8 { bucket: 4, l2: false };
        assert_eq!(carried(&rule, &change, 1).0, change);
        assert_eq!(carried(&rule, &[0.0; 9], 1).0, [0.0; 9]);
    }

    #[test]
    fn a_change_that_is_not_finite_stays_so() {
        for (l2, bad) in [(false, f32::NAN), (true, f32::NAN), (false, f32::INFINITY), (true, f32::NEG_INFINITY)] {
            let decoded = carried(&Int8 { bucket: 2, l2 }, &[1.0, bad, 3.0], 1).0;
            assert!(!decoded[1].is_finite() && decoded[2] == 3.0, "{l2} {bad}: {decoded:?}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_payload() {
        let rule = Int8 { bucket: 512, l2: false };
        for length in [1, 512, 513, 2000] {
            assert_eq!(carried(&rule, &vec![0.25; length], 1).1, rule.payload(length), "{length}");
        }
    }

    /// The vectors of the protocol's README come from its `vectors.py`; the Python package has the same test.
    #[test]
    fn an_encoding_is_that_of_the_protocol_to_the_bit() {
        for l2 in [false, true] {
            let encoded = Int8 { bucket: 4, l2 }.encode(written("change"), &[], &testing::key());
            let under = format!("under `int8:bucket=4,l2={l2}`");
            let levels = written(&format!("levels {under}")).iter().map(|level| *level as i8 as u8).collect();
            let scales = written(&format!("scales {under}"));
            assert_eq!(encoded.parts, [("levels", PartData::U8(levels)), ("scales", PartData::F32(scales))], "{under}");
        }
    }

    #[test]
    fn parts_of_another_size_are_refused() {
        let rule = Int8 { bucket: 2, l2: false };
        let why = rule.decode(&mut Parts::default(), 3).unwrap_err();
        assert_eq!(why, "it has no part \"levels\" of the length 3");
    }
}
