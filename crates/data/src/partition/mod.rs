//! The partitioners: pure functions from labels and a seed to the rows of each client.

mod dirichlet;
mod iid;
mod shards;

use std::fmt;
use std::str::FromStr;

use fedpipe_spec::{error::Error, text::Text};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::error::DataError;

/// The partition scheme: the rule that assigns training examples to clients.
///
/// The text is `iid`, `dirichlet:alpha=0.3` (optionally with `min-size=10` and `balance=true`), `shards:per-client=2`
/// or `own`. A bare value is alpha, or the number of shards per client. `Display` writes the form that `FromStr` reads,
/// without defaults.
#[derive(Clone, Debug, PartialEq, SerializeDisplay, DeserializeFromStr)]
pub enum Scheme {
    /// The examples are shuffled. The sizes of partitions differ by at most 1.
    Iid,
    /// Each class is dealt in shares from a symmetric Dirichlet distribution *over the clients* (Yurochkin 2019;
    /// NIID-Bench, Li 2022, "label distribution skew"). The variant that draws classes for each client (Hsu 2019) is
    /// another scheme.
    Dirichlet {
        /// The concentration, > 0. A small value gives skewed partitions, a large one even partitions.
        alpha: f64,
        /// The least size of a partition, at least 1. The deal is drawn again until every client has that many
        /// examples.
        min_size: u32,
        /// `true` if a client gets no further class once it has its even share (examples / clients), as in the code of
        /// NIID-Bench, FedLab and PFLlib. `README.md` says which published numbers need it.
        balance: bool,
    },
    /// The examples are sorted by label and cut into `clients * per_client` shards whose sizes differ by at most 1. The
    /// shards are dealt at random (McMahan 2017, section 3).
    Shards {
        /// The number of shards for each client, at least 1.
        per_client: u32,
    },
    /// The clients have their own partitions, on other machines. Each machine deals all its examples to one client.
    Own,
}

impl Scheme {
    /// The default of `min-size` under `dirichlet`, as in NIID-Bench.
    pub const MIN_SIZE: u32 = 10;

    /// Checks the parameters that can be checked without the dataset.
    ///
    /// # Errors
    /// The error names the parameter that is out of range.
    pub fn check(&self) -> Result<(), DataError> {
        match *self {
            Self::Iid | Self::Own => Ok(()),
            Self::Dirichlet { alpha, min_size, balance } => dirichlet::Dirichlet { alpha, min_size, balance }.check(),
            Self::Shards { per_client } => shards::check(per_client),
        }
    }
}

/// Assigns each of the rows `0..labels.len()` to exactly one client.
///
/// Returns one list of rows for each client, ascending and not empty. The same arguments give the same lists on every
/// machine: the random streams depend on `seed` and [`Use::Partition`](fedpipe_random::key::Use::Partition), and
/// logarithms do not come from the system.
///
/// # Errors
/// There is no client, or there are more clients than rows; a label is not below `classes`; a parameter is out of
/// range; there are too few rows for the shards; 1,000 Dirichlet draws did not reach the least size; or the scheme is
/// `own` with several clients.
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
    match *scheme {
        Scheme::Iid => Ok(iid::partition(examples, clients, seed)),
        Scheme::Dirichlet { alpha, min_size, balance } => {
            let rule = dirichlet::Dirichlet { alpha, min_size, balance };
            dirichlet::partition(&rule, labels, classes, clients, seed)
        }
        Scheme::Shards { per_client } => shards::partition(per_client, labels, clients, seed),
        Scheme::Own if clients == 1 => Ok(vec![(0..examples).collect()]),
        Scheme::Own => Err(DataError::OwnPartitions { clients }),
    }
}

/// Returns the start of part `k` if `n` items are cut into `parts` parts whose sizes differ by at most 1, larger parts
/// first.
fn start_of(k: u32, n: u32, parts: u32) -> usize {
    (k as usize) * ((n / parts) as usize) + k.min(n % parts) as usize
}

const NAMES: &[&str] = &["iid", "dirichlet", "shards", "own"];

fn main_key(name: &str) -> Option<&'static str> {
    match name {
        "dirichlet" => Some("alpha"),
        "shards" => Some("per-client"),
        _ => None,
    }
}

impl FromStr for Scheme {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let text = Text::parse(text, main_key)?;
        let scheme = match text.name() {
            "iid" => {
                text.only(&[])?;
                Self::Iid
            }
            "dirichlet" => {
                text.only(&["alpha", "min-size", "balance"])?;
                Self::Dirichlet {
                    alpha: text.need("alpha", "a number above 0")?,
                    min_size: text.get("min-size", "a whole number from 1")?.unwrap_or(Self::MIN_SIZE),
                    balance: text.get("balance", "true or false")?.unwrap_or(false),
                }
            }
            "shards" => {
                text.only(&["per-client"])?;
                Self::Shards { per_client: text.need("per-client", "a whole number from 1")? }
            }
            "own" => {
                text.only(&[])?;
                Self::Own
            }
            given => {
                let (what, known) = ("partition scheme", NAMES.to_vec());
                return Err(Error::UnknownName { what, given: given.to_owned(), known }.into());
            }
        };
        scheme.check().map(|()| scheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iid => f.write_str("iid"),
            Self::Dirichlet { alpha, min_size, balance } => {
                write!(f, "dirichlet:alpha={alpha}")?;
                if *min_size != Self::MIN_SIZE {
                    write!(f, ",min-size={min_size}")?;
                }
                if *balance {
                    write!(f, ",balance=true")?;
                }
                Ok(())
            }
            Self::Shards { per_client } => write!(f, "shards:per-client={per_client}"),
            Self::Own => f.write_str("own"),
        }
    }
}

#[cfg(test)]
mod tests;
