//! The greatest values of the change, with error feedback (Stich 2018; Aji & Heafield 2017).
//!
//! g is the change plus the client's residual. The k values of g with the greatest magnitudes are sent, the lower
//! index first among equal ones. The new residual is g with 0 in the place of each value that was sent.

use std::{cmp::Reverse, sync::Arc};

use fedpipe_protocol::{PartData, Parts};
use fedpipe_random::key::Key;
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Encoded, Encoding, Transform};

const FRACTION: Parameter = Parameter {
    key: "fraction",
    default: None,
    range: Range::Share,
    help: "the share of the weights that is sent; common are 0.001 to 0.1",
};
const FEEDBACK: Parameter = Parameter {
    key: "feedback",
    default: Some(Value::Flag(true)),
    range: Range::Flag,
    help: "true adds what was not sent to the client's next change",
};

pub(super) const FEATURE: &str = "compress:topk";

pub(super) const ROW: TableRow<Transform> = TableRow {
    name: "topk",
    summary: "the values of the change with the greatest magnitudes",
    parameters: &[FRACTION, FEEDBACK],
    source: "Stich 2018, Algorithm 1; Aji & Heafield 2017",
    build: |values| {
        let rule = TopK { fraction: values.number("fraction"), feedback: values.flag("feedback") };
        Arc::new(Transform::Encoding(Box::new(rule)))
    },
};

/// The part of the indices, ascending.
const INDICES_PART: &str = "indices";
/// The part of the values at these indices: 32-bit floats.
const VALUES_PART: &str = "values";

#[derive(Debug)]
struct TopK {
    fraction: f64,
    feedback: bool,
}

impl TopK {
    /// Returns the number of values that are sent of so many.
    fn count(&self, length: usize) -> usize {
        (self.fraction * length as f64).ceil() as usize
    }

    /// Returns the indices of the greatest magnitudes, ascending.
    fn chosen(&self, values: &[f32]) -> Vec<u32> {
        let mut indices: Vec<u32> = (0..values.len() as u32).collect();
        let count = self.count(values.len());
        if count < indices.len() {
            // The bits of a magnitude have its order, and NaN is the greatest, so that the host sees it.
            let rank = |&index: &u32| (Reverse(values[index as usize].abs().to_bits()), index);
            indices.select_nth_unstable_by_key(count, rank);
            indices.truncate(count);
            indices.sort_unstable();
        }
        indices
    }
}

impl Encoding for TopK {
    fn feature(&self) -> &'static str {
        FEATURE
    }

    fn has_residual(&self) -> bool {
        self.feedback
    }

    fn encode(&self, mut change: Vec<f32>, residual: &[f32], _: &Key) -> Encoded {
        if self.feedback {
            change.iter_mut().zip(residual).for_each(|(value, left)| *value += left);
        }
        let indices = self.chosen(&change);
        let sent = indices.iter().map(|&index| std::mem::take(&mut change[index as usize])).collect();
        let parts = vec![(INDICES_PART, PartData::U32(indices)), (VALUES_PART, PartData::F32(sent))];
        Encoded { parts, residual: self.feedback.then_some(change) }
    }

    fn decode(&self, parts: &mut Parts, length: usize) -> Result<Vec<f32>, String> {
        let count = self.count(length);
        let indices = parts.take_u32(INDICES_PART).filter(|indices| indices.len() == count);
        let indices = indices.ok_or_else(|| format!("it has no part {INDICES_PART:?} of the length {count}"))?;
        let values = parts.take_f32(VALUES_PART).filter(|values| values.len() == count);
        let values = values.ok_or_else(|| format!("it has no part {VALUES_PART:?} of the length {count}"))?;
        if !indices.is_sorted_by(|one, next| one < next) {
            return Err(format!("its part {INDICES_PART:?} is not in ascending order"));
        }
        if let Some(last) = indices.last().filter(|last| **last as usize >= length) {
            return Err(format!("its part {INDICES_PART:?} has {last}, which is not below {length}"));
        }
        let mut change = vec![0.0; length];
        indices.iter().zip(values).for_each(|(&index, value)| change[index as usize] = value);
        Ok(change)
    }

    fn payload(&self, length: usize) -> u64 {
        8 * self.count(length) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::{key, written};

    fn encoded(rule: &TopK, change: &[f32], residual: &[f32]) -> (Vec<u32>, Vec<f32>, Option<Vec<f32>>) {
        let Encoded { mut parts, residual } = rule.encode(change.to_vec(), residual, &key());
        let (Some((_, PartData::F32(values))), Some((_, PartData::U32(indices)))) = (parts.pop(), parts.pop()) else {
            panic!("other parts")
        };
        (indices, values, residual)
    }

    fn decoded(rule: &TopK, length: usize, indices: &[u32], values: &[f32]) -> Result<Vec<f32>, String> {
        let mut parts = Parts::default();
        parts.set(INDICES_PART, PartData::U32(indices.to_vec()));
        parts.set(VALUES_PART, PartData::F32(values.to_vec()));
        rule.decode(&mut parts, length)
    }

    #[test]
    fn the_greatest_magnitudes_are_sent_and_the_rest_is_added_to_the_next_change() {
        let rule = TopK { fraction: 0.5, feedback: true };
        let (indices, values, residual) = encoded(&rule, &[1.0, -3.0, 0.5, 2.0, -0.25], &[]);
        // Half of five is rounded up.
        assert_eq!((indices, values), (vec![0, 1, 3], vec![1.0, -3.0, 2.0]));
        assert_eq!(residual, Some(vec![0.0, 0.0, 0.5, 0.0, -0.25]));
        let (indices, values, residual) = encoded(&rule, &[0.5; 5], &residual.unwrap());
        assert_eq!((indices, values), (vec![0, 1, 2], vec![0.5, 0.5, 1.0]), "ties go to the lower index");
        assert_eq!(residual, Some(vec![0.0, 0.0, 0.0, 0.5, 0.25]));
        let rule = TopK { feedback: false, ..rule };
        assert_eq!(encoded(&rule, &[0.5, 1.0], &[]), (vec![1], vec![1.0], None));
    }

    #[test]
    fn a_change_that_is_not_finite_is_sent() {
        let rule = TopK { fraction: 0.1, feedback: true };
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (indices, values, _) = encoded(&rule, &[f32::MAX, bad, f32::MIN], &[]);
            assert!(indices == [1] && !values[0].is_finite(), "{bad}: {indices:?} {values:?}");
        }
    }

    #[test]
    fn at_least_one_value_is_sent_and_the_bytes_are_those_of_the_payload() {
        for (fraction, length, count) in [(1e-9, 1, 1), (0.01, 7850, 79), (0.01, 100, 1), (1.0, 3, 3), (0.05, 101, 6)] {
            let rule = TopK { fraction, feedback: true };
            let parts = rule.encode(vec![0.25; length], &[], &key()).parts;
            let bytes: usize = parts.iter().map(|(name, data)| data.as_part(name).bytes().len()).sum();
            assert_eq!((rule.count(length), bytes as u64), (count, rule.payload(length)), "{fraction} of {length}");
        }
    }

    #[test]
    fn parts_that_no_client_sends_are_refused_by_name() {
        let rule = TopK { fraction: 0.5, feedback: false };
        assert_eq!(decoded(&rule, 4, &[1, 3], &[2.0, -1.0]).unwrap(), [0.0, 2.0, 0.0, -1.0]);
        let cases: [(&[u32], &[f32], &str); 5] = [
            (&[1], &[2.0, -1.0], "it has no part \"indices\" of the length 2"),
            (&[1, 3], &[2.0; 3], "it has no part \"values\" of the length 2"),
            (&[3, 1], &[2.0; 2], "its part \"indices\" is not in ascending order"),
            (&[1, 1], &[2.0; 2], "its part \"indices\" is not in ascending order"),
            (&[1, 4], &[2.0; 2], "its part \"indices\" has 4, which is not below 4"),
        ];
        for (indices, values, expected) in cases {
            assert_eq!(decoded(&rule, 4, indices, values).unwrap_err(), expected);
        }
    }

    /// The vectors of the protocol's README come from its `vectors.py`; the Python package has the same test.
    #[test]
    fn an_encoding_is_that_of_the_protocol_to_the_bit() {
        let rule = TopK { fraction: 0.2, feedback: true };
        let (indices, values, residual) = encoded(&rule, &written("change"), &written("residual"));
        let under = "under `topk:fraction=0.2,feedback=true`";
        let written_indices: Vec<u32> =
            written(&format!("indices {under}")).iter().map(|index| *index as u32).collect();
        assert_eq!(indices, written_indices);
        assert_eq!(values, written(&format!("values {under}")));
        assert_eq!(residual, Some(written(&format!("new residual {under}"))));
    }
}
