//! Who holds which example: pure functions from labels and a seed.

mod dirichlet;
mod iid;
mod shards;

use std::fmt;
use std::str::FromStr;

use fedpipe_spec::{error::Error, text::Text};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::DataError;

/// How a training set is cut among clients.
///
/// As text: `iid`, `dirichlet:alpha=0.3` with `min-size=10` and `balance=true` if wanted, `shards:per-client=2`, `own`; a
/// bare value is alpha, or the shards per client. `Display` writes the form that `FromStr` reads, without the defaults.
#[derive(Clone, Debug, PartialEq, SerializeDisplay, DeserializeFromStr)]
pub enum Scheme {
    /// Shuffled; sizes differ by at most 1.
    Iid,
    /// Each class is dealt in shares drawn from a symmetric Dirichlet distribution *over the clients*
    /// (Yurochkin 2019; NIID-Bench, Li 2022, "label distribution skew"). Not comparable with the variant
    /// that draws classes for each client (Hsu 2019).
    Dirichlet {
        /// The concentration, > 0: small is skewed, large is even.
        alpha: f64,
        /// Drawn again until every client has at least so many examples (at least 1).
        min_size: u32,
        /// Whether a client that already holds its even share (examples / clients) gets nothing of the next classes.
        balance: bool,
    },
    /// Sorted by label, cut into `clients * per_client` shards whose sizes differ by at most 1, dealt at random
    /// (McMahan 2017, section 3).
    Shards {
        /// How many shards each client gets, at least 1.
        per_client: u32,
    },
    /// Not at all: the clients hold partitions of their own, on other machines. A machine deals what it has to one client.
    Own,
}

impl Scheme {
    /// The least size of a client's partition under `dirichlet` where none is given, as in NIID-Bench.
    pub const MIN_SIZE: u32 = 10;

    /// Checks the parameters, as far as they can be without the dataset.
    ///
    /// # Errors
    /// Names the parameter that is out of range.
    pub fn check(&self) -> Result<(), DataError> {
        match *self {
            Self::Iid | Self::Own => Ok(()),
            Self::Dirichlet { alpha, min_size, balance } => dirichlet::Rule { alpha, min_size, balance }.check(),
            Self::Shards { per_client } => shards::check(per_client),
        }
    }
}

/// Cuts the rows `0..labels.len()` among the clients: every row goes to exactly one client.
///
/// Returns one list of row indices a client, ascending, none empty. The same arguments give the same lists on every
/// machine: the streams are keyed by `seed` and [`Use::Partition`](fedpipe_random::key::Use::Partition), and logarithms
/// are not the system's.
///
/// # Errors
/// No client or more clients than rows; a label that is not below `classes`; a parameter out of range; too few rows for
/// the shards; a Dirichlet draw that did not reach the least size in 1,000 tries; or partitions that are the clients' own.
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
            let rule = dirichlet::Rule { alpha, min_size, balance };
            dirichlet::partition(&rule, labels, classes, clients, seed)
        }
        Scheme::Shards { per_client } => shards::partition(per_client, labels, clients, seed),
        Scheme::Own if clients == 1 => Ok(vec![(0..examples).collect()]),
        Scheme::Own => Err(DataError::OwnPartitions { clients }),
    }
}

/// Where part `k` of `parts` starts when `n` things are cut into parts whose sizes differ by at most 1, the larger
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
