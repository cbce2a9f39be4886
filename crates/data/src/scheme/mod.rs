//! The partitioners: pure functions from labels and a seed to the rows of each client. A partitioner is one file and
//! one row of the table.

mod dirichlet;
mod iid;
mod own;
mod shards;

use std::fmt;

use fedpipe_spec::table::{Named, TableRow, Tabled};

use crate::error::DataError;

/// The partition scheme: the rule that assigns training examples to clients, by name with its parameters, such as
/// `dirichlet:alpha=0.3`. `Display` writes the form that `FromStr` reads, without defaults.
pub type Scheme = Named<dyn Partitioner>;

/// The labels of the training examples, at most 2³² − 1 and each below `classes`.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// The label of each row.
    pub labels: &'a [u32],
    /// The number of classes.
    pub classes: u32,
}

impl Labelled<'_> {
    /// Returns the number of rows.
    pub fn examples(&self) -> u32 {
        self.labels.len() as u32
    }
}

/// A rule that deals rows to clients.
pub trait Partitioner: fmt::Debug + Send + Sync {
    /// Returns the rows of each client, ascending and not empty, each row once. There are as many rows as clients, or
    /// more.
    ///
    /// # Errors
    /// The rows are too few for the parameters, or the draws do not meet them.
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError>;

    /// Returns `true` if the clients have their own data, so that the host deals none.
    fn is_own(&self) -> bool {
        false
    }
}

static ROWS: [TableRow<dyn Partitioner>; 4] = [iid::ROW, dirichlet::ROW, shards::ROW, own::ROW];

impl Tabled for dyn Partitioner {
    const WHAT: &'static str = "partition scheme";
    const LIST: &'static str = "partitioners";
    // The text is part of the key of the cache, and of published results.
    const SHOWS_DEFAULTS: bool = false;

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Assigns each of the rows `0..labels.len()` to exactly one client.
///
/// Returns one list of rows for each client, ascending and not empty. The same arguments give the same lists on every
/// machine. The random streams depend on `seed` and [`Use::Partition`](fedpipe_random::key::Use::Partition) alone, and
/// logarithms do not come from the system.
///
/// # Errors
/// Returns an error if there is no client, or there are more clients than rows, and if a label is not below `classes`.
/// A scheme refuses too few rows for its shards, 1,000 Dirichlet draws that do not reach the least size, and several
/// clients under `own`.
pub fn partition(
    scheme: &Scheme,
    labels: &[u32],
    classes: u32,
    clients: u32,
    seed: u64,
) -> Result<Vec<Vec<u32>>, DataError> {
    let examples = u32::try_from(labels.len()).map_err(|_| DataError::TooManyExamples { examples: labels.len() })?;
    if clients == 0 {
        return Err(DataError::NoClients);
    }
    if clients > examples {
        return Err(DataError::TooManyClients { clients, examples });
    }
    if let Some(row) = labels.iter().position(|&label| label >= classes) {
        return Err(DataError::LabelOutOfRange { row, label: labels[row], classes });
    }
    scheme.deal(&Labelled { labels, classes }, clients, seed)
}

/// Returns the start of part `k` if `n` items are cut into `parts` parts whose sizes differ by at most 1, larger parts
/// first.
fn start_of(k: u32, n: u32, parts: u32) -> usize {
    (k as usize) * ((n / parts) as usize) + k.min(n % parts) as usize
}

#[cfg(test)]
mod tests;
