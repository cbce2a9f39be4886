//! No transform: the update is the weights themselves, as 32-bit floats.

use std::sync::Arc;

use fedpipe_protocol::{PartData, Parts, WEIGHTS};
use fedpipe_random::key::Key;
use fedpipe_spec::table::TableRow;

use super::{Encoded, Transform};

pub(super) const ROW: TableRow<dyn Transform> = TableRow {
    name: "none",
    summary: "the weights as they are, 32 bits each",
    parameters: &[],
    source: "the pipe protocol",
    build: |_| Arc::new(NoTransform),
};

#[derive(Debug)]
struct NoTransform;

impl Transform for NoTransform {
    fn encode(&self, change: &[f32], _: &Key) -> Vec<Encoded> {
        vec![(WEIGHTS, PartData::F32(change.to_vec()))]
    }

    fn decode(&self, parts: &mut Parts, _: usize) -> Result<Vec<f32>, String> {
        parts.take_f32(WEIGHTS).ok_or_else(|| "it has no part \"weights\"".to_owned())
    }

    fn payload(&self, length: usize) -> u64 {
        4 * length as u64
    }

    fn is_none(&self) -> bool {
        true
    }
}
