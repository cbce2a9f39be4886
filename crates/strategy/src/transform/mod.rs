//! Transforms: what becomes of the change of a client's weights on the way to the host. Rules such as a bound on the
//! norm alter the change, and an encoding makes parts of it, which the host decodes.

pub mod chain;
mod clip;
mod int8;
mod top_k;

use std::fmt;

use fedpipe_protocol::{PartData, Parts};
use fedpipe_random::key::Key;
use fedpipe_spec::table::{TableRow, Tabled};

/// A row of the table.
#[derive(Debug)]
pub enum Transform {
    /// A rule that alters the change.
    Rule(Box<dyn ChangeRule>),
    /// An encoding of the change, the last of a chain.
    Encoding(Box<dyn Encoding>),
}

/// A rule that alters the change of a client's weights.
pub trait ChangeRule: fmt::Debug + Send + Sync {
    /// Returns the feature that a client needs for the rule.
    fn feature(&self) -> &'static str;

    /// Returns the altered change.
    fn apply(&self, change: Vec<f32>) -> Vec<f32>;
}

/// A rule that encodes the change of a client's weights.
pub trait Encoding: fmt::Debug + Send + Sync {
    /// Returns the feature that a client needs for the encoding.
    fn feature(&self) -> &'static str;

    /// Returns `true` if the client has a residual: what was not sent of its changes so far.
    fn has_residual(&self) -> bool {
        false
    }

    /// Returns the parts that encode `change`, with the random numbers of `key`, and the client's new residual.
    /// `residual` is empty before the client's first accepted update.
    fn encode(&self, change: Vec<f32>, residual: &[f32], key: &Key) -> Encoded;

    /// Returns the change of `length` weights that the parts encode.
    ///
    /// # Errors
    /// A phrase about parts that no client of fedpipe sends.
    fn decode(&self, parts: &mut Parts, length: usize) -> Result<Vec<f32>, String>;

    /// Returns the bytes of all parts for so many weights, without the residual.
    fn payload(&self, length: usize) -> u64;
}

/// An encoded change.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The parts by name.
    pub parts: Vec<(&'static str, PartData)>,
    /// The client's new residual; none if the encoding has no residual.
    pub residual: Option<Vec<f32>>,
}

impl Encoded {
    /// Returns a change that is encoded without a residual.
    fn stateless(parts: Vec<(&'static str, PartData)>) -> Self {
        Self { parts, residual: None }
    }
}

static ROWS: [TableRow<Transform>; 3] = [clip::ROW, int8::ROW, top_k::ROW];

impl Tabled for Transform {
    const WHAT: &'static str = "transform";
    const LIST: &'static str = "transforms";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

impl Transform {
    /// Returns the feature that a client needs.
    fn feature(&self) -> &'static str {
        match self {
            Self::Rule(rule) => rule.feature(),
            Self::Encoding(encoding) => encoding.feature(),
        }
    }
}

/// Returns the features of a client that knows all transforms.
pub fn features() -> impl Iterator<Item = String> {
    [clip::FEATURE, int8::FEATURE, top_k::FEATURE].map(str::to_owned).into_iter()
}

#[cfg(test)]
mod testing {
    use fedpipe_random::key::{Key, Use};

    /// Returns the key of the vectors in the protocol's README.
    pub(super) fn key() -> Key {
        Key { seed: 1, purpose: Use::Transform, client: 2, round: 3, epoch: 0 }
    }

    /// Returns the numbers of a vector in the protocol's README.
    pub(super) fn written(name: &str) -> Vec<f32> {
        let prefix = format!("| {name} | ");
        let row = include_str!("../../../protocol/README.md").lines().find_map(|line| line.strip_prefix(&prefix));
        let row = row.unwrap_or_else(|| panic!("the README has no vector {name:?}"));
        row.trim_end_matches(" |").split(' ').map(|value| value.parse().unwrap()).collect()
    }
}
