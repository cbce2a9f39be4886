//! Samplers: the clients of a round. A sampler is a function of the seed and the round, never of the strategy, so that
//! two strategies meet the same clients.

mod uniform;

use std::fmt;

use fedpipe_spec::table::{TableRow, Tabled};

/// The facts that a sampler may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The seed of the samples.
    pub seed: u64,
    /// The round, from 1.
    pub round: u64,
    /// The number of all clients, at least 1.
    pub clients: u32,
    /// The number of clients that a round has, from 1 to `clients`.
    pub count: u32,
}

/// A rule that chooses the clients of a round.
pub trait Sampler: fmt::Debug + Send + Sync {
    /// Returns the clients of a round, ascending, each once.
    fn sample(&self, draw: &Draw) -> Vec<u32>;
}

static ROWS: [TableRow<dyn Sampler>; 1] = [uniform::ROW];

impl Tabled for dyn Sampler {
    const WHAT: &'static str = "sampler";
    const LIST: &'static str = "samplers";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}
