//! Pre-aggregators: other vectors in the place of the updates of a round, for a robust aggregator.

mod arc;
mod bucketing;
mod nnm;

use std::{borrow::Cow, fmt};

use fedpipe_random::key::Key;
use fedpipe_spec::table::{Parameter, Range, TableRow, Tabled, Value};

use crate::vector_math::Math;

/// The vectors before a pre-aggregator.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    /// The weights that the clients received.
    pub received: &'a [f32],
    /// The vectors, at least one.
    pub rows: &'a [&'a [f32]],
    /// The number of faulty updates that the aggregator is meant for.
    pub faulty: usize,
    /// The key of the order that the rule draws.
    pub key: Key,
}

/// A rule that makes vectors of vectors.
pub trait PreAggregator: fmt::Debug + Send + Sync {
    /// Returns the vectors that take the place of the given ones.
    fn vectors(&self, given: &Vectors<'_>, math: &dyn Math) -> Vec<Vec<f32>>;

    /// Returns `true` if the number of faulty updates is that of the aggregator.
    fn takes_faulty(&self) -> bool {
        false
    }

    /// Returns the fewest vectors of which the rule makes as many as `after` it are needed.
    fn least_updates(&self, after: u32) -> u32;
}

/// The number of faulty updates of a rule.
const FAULTY: Parameter = Parameter {
    key: "f",
    default: Some(Value::Text(Cow::Borrowed("rule"))),
    range: Range::NumberOr {
        number: &Range::WholeNumber,
        word: "rule",
        wants: "a whole number from 0, or rule for that of the aggregator",
    },
    help: "the number of faulty clients that a round may have",
};

static ROWS: [TableRow<dyn PreAggregator>; 3] = [nnm::ROW, bucketing::ROW, arc::ROW];

impl Tabled for dyn PreAggregator {
    const WHAT: &'static str = "pre-aggregator";
    const LIST: &'static str = "pre-aggregators";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
mod testing {
    use fedpipe_random::key::Use;
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::vector_math::OneCore;

    /// Returns the vectors that a rule makes of rows, from 0.
    pub(super) fn vectors<R: AsRef<[f32]>>(rule: &str, rows: &[R], round: u64) -> Vec<Vec<f32>> {
        let rule: Named<dyn PreAggregator> = rule.parse().unwrap();
        let rows: Vec<&[f32]> = rows.iter().map(AsRef::as_ref).collect();
        let key = Key { seed: 1, purpose: Use::Aggregate, client: 0, round, epoch: 0 };
        let received = vec![0.0; rows[0].len()];
        rule.vectors(&Vectors { received: &received, rows: &rows, faulty: 1, key }, &OneCore)
    }

    /// The rows of ByzFL's own examples.
    pub(super) const ROWS: [[f32; 3]; 3] = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];
}
