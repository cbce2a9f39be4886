//! Schedules: how many updates make new global weights, and what becomes of an update whose weights are of an earlier
//! version. A schedule knows no time; the host orders the events.

pub(crate) mod asynchronous;
pub(crate) mod buffered;
pub(crate) mod staleness;
mod synchronous;

use std::fmt;

use fedpipe_protocol::Layout;
use fedpipe_spec::table::{TableRow, Tabled};

/// The facts about an update of a schedule without rounds.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The global weights now, flat.
    pub current: &'a [f32],
    /// The global weights that the client received.
    pub received: &'a [f32],
    /// The versions between both, from 0.
    pub staleness: u64,
    /// The tensors of the weights.
    pub layout: &'a Layout,
}

/// A rule that decides when the global weights change.
pub trait Schedule: fmt::Debug + Send + Sync {
    /// Returns the number of updates after which the global weights change while other clients train on; `None` if they
    /// change after all clients of a round.
    fn buffer_size(&self) -> Option<u32> {
        None
    }

    /// Returns the clients that are sampled for each one whose update is awaited, at least 1.
    fn over_commitment(&self) -> f64 {
        1.0
    }

    /// Replaces a client's weights by those that the aggregator takes: the current weights, moved by the client's
    /// change. In a synchronous round they are the client's own.
    fn place(&self, _arrival: &Arrival<'_>, _weights: &mut [f32]) {}
}

static ROWS: [TableRow<dyn Schedule>; 3] = [synchronous::ROW, buffered::ROW, asynchronous::ROW];

impl Tabled for dyn Schedule {
    const WHAT: &'static str = "schedule";
    const LIST: &'static str = "schedules";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::aggregator::testing::flat;

    /// Returns the weights that the aggregator takes from a client, by a row.
    pub(crate) fn placed(row: &str, current: &[f32], received: &[f32], staleness: u64, weights: &[f32]) -> Vec<f32> {
        let schedule: Named<dyn Schedule> = row.parse().unwrap();
        let mut placed = weights.to_vec();
        schedule.place(&Arrival { current, received, staleness, layout: &flat(weights.len()) }, &mut placed);
        placed
    }
}
