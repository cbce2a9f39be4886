//! Transforms: the encoding of an update on the pipe. A client encodes the change of its weights, and the host decodes
//! it.

mod int8;
mod no_transform;

use std::fmt;

use fedpipe_protocol::{PartData, Parts, feature};
use fedpipe_random::key::Key;
use fedpipe_spec::{
    error::Error,
    table::{Named, TableRow, Tabled},
};

/// A named part of an encoded update.
pub type Encoded = (&'static str, PartData);

/// A rule that encodes the change of a client's weights.
pub trait Transform: fmt::Debug + Send + Sync {
    /// Returns the parts that encode `change`, with the random numbers of `key`.
    fn encode(&self, change: &[f32], key: &Key) -> Vec<Encoded>;

    /// Returns the change of `length` weights that the parts encode.
    ///
    /// # Errors
    /// A phrase about parts that no client of fedpipe sends.
    fn decode(&self, parts: &mut Parts, length: usize) -> Result<Vec<f32>, String>;

    /// Returns the bytes of all parts for so many weights.
    fn payload(&self, length: usize) -> u64;

    /// Returns `true` if the update is the weights themselves.
    fn is_none(&self) -> bool {
        false
    }
}

/// Reads a transform from its text.
///
/// # Errors
/// Returns the refusal of a text that names no transform.
pub fn parse(text: &str) -> Result<Named<dyn Transform>, Error> {
    text.parse()
}

/// Returns the features of a client that knows all transforms.
pub fn features() -> impl Iterator<Item = String> {
    ROWS.iter().filter(|row| row.name != no_transform::ROW.name).map(|row| feature::of_transform(row.name))
}

static ROWS: [TableRow<dyn Transform>; 2] = [no_transform::ROW, int8::ROW];

impl Tabled for dyn Transform {
    const WHAT: &'static str = "transform";
    const LIST: &'static str = "transforms";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}
