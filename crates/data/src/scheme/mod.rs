//! The partitioners: pure functions from labels and a seed to the rows of each client. A partitioner is one file and
//! one row of the table.

mod by_hand;
mod continuous;
mod cut;
mod dirichlet;
mod dirichlet_client;
mod exdir;
pub(crate) mod feature_noise;
mod gamma_similarity;
mod grouped_natural;
mod growing;
mod iid;
mod labels;
mod log_normal;
mod natural;
mod own;
mod pat;
mod quantity;
mod ready;
mod shards;
pub(crate) mod split_table;

use std::{fmt, path::Path};

use fedpipe_random::key::{Key, Use};
use fedpipe_spec::{
    pinned_file::PinnedFile,
    table::{Named, TableRow, Tabled},
};

use crate::error::DataError;

pub use split_table::SplitTable;

/// The partition scheme: the rule that assigns training examples to clients, by name with its parameters, such as
/// `dirichlet:alpha=0.3`. `Display` writes the form that `FromStr` reads, without defaults.
pub type Scheme = Named<dyn Partitioner>;

/// The training rows as a partitioner sees them.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// The number of rows, at most 2³² − 1.
    pub examples: usize,
    /// The label of each row, below `classes`; none if the targets are real numbers.
    pub labels: &'a [u32],
    /// The number of classes; 0 if the targets are real numbers.
    pub classes: u32,
    /// The names of the classes, if they have names.
    pub class_names: &'a [String],
    /// The natural client of each row, if the dataset has them.
    pub natural: Option<&'a [u32]>,
    /// The column that the scheme deals by, if it names one.
    pub column: Option<&'a [f64]>,
    /// The split by hand, if the scheme names a file.
    pub split: Option<&'a SplitTable>,
}

impl<'a> Labelled<'a> {
    /// Returns rows with labels and nothing else.
    pub fn new(labels: &'a [u32], classes: u32) -> Self {
        Self { examples: labels.len(), labels, classes, class_names: &[], natural: None, column: None, split: None }
    }

    /// Returns the number of rows.
    pub fn examples(&self) -> u32 {
        self.examples as u32
    }

    /// Returns the labels to the `scheme` that needs them.
    fn labels(&self, scheme: &'static str) -> Result<&'a [u32], DataError> {
        if self.classes == 0 { Err(DataError::NoLabels { scheme }) } else { Ok(self.labels) }
    }

    /// Returns the rows of each class, ascending, to the `scheme` that needs them.
    fn rows_by_class(&self, scheme: &'static str) -> Result<Vec<Vec<u32>>, DataError> {
        let mut by_class = vec![Vec::new(); self.classes as usize];
        for (row, &label) in self.labels(scheme)?.iter().enumerate() {
            by_class[label as usize].push(row as u32);
        }
        Ok(by_class)
    }

    /// Returns the rows of each class that has an example, as [`Labelled::rows_by_class`].
    fn rows_by_present_class(&self, scheme: &'static str) -> Result<Vec<Vec<u32>>, DataError> {
        Ok(self.rows_by_class(scheme)?.into_iter().filter(|rows| !rows.is_empty()).collect())
    }
}

/// A rule that deals rows to clients.
pub trait Partitioner: fmt::Debug + Send + Sync {
    /// Returns the rows of each client, ascending, no row twice. There are as many rows as clients, or more.
    ///
    /// # Errors
    /// The rows are too few for the parameters, or the draws do not meet them.
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError>;

    /// Returns `true` if the clients have their own data, so that the host deals none.
    fn is_own(&self) -> bool {
        false
    }

    /// Returns `true` if the natural clients of the dataset decide the number of clients.
    fn is_natural(&self) -> bool {
        false
    }

    /// Returns the number of clients that as many natural ones are dealt to.
    ///
    /// # Errors
    /// The natural clients do not fit the parameters.
    fn client_count(&self, natural: u32) -> Result<u32, DataError> {
        Ok(natural)
    }

    /// Returns `true` if each natural client of the dataset is a client, which then has its name.
    fn keeps_names(&self) -> bool {
        false
    }

    /// Returns the column that the scheme deals by: `target`, or a feature by its name or its number.
    fn column(&self) -> Option<&str> {
        None
    }

    /// Returns the standard deviation of the noise that the features of a client get.
    fn noise(&self, _client: u32, _clients: u32) -> f64 {
        0.0
    }

    /// Returns the directory of ready partitions, which stands in the place of the dataset.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// Returns the file of a split by hand.
    fn split_file(&self) -> Option<&PinnedFile> {
        None
    }
}

static ROWS: [TableRow<dyn Partitioner>; 20] = [
    iid::ROW,
    dirichlet::ROW,
    dirichlet_client::ROW,
    shards::ROW,
    labels::ROW,
    pat::ROW,
    exdir::ROW,
    gamma_similarity::ROW,
    quantity::ROW,
    log_normal::ROW,
    growing::LINEAR,
    growing::SQUARE,
    growing::EXPONENTIAL,
    continuous::ROW,
    feature_noise::ROW,
    natural::ROW,
    grouped_natural::ROW,
    by_hand::ROW,
    ready::ROW,
    own::ROW,
];

impl Tabled for dyn Partitioner {
    const WHAT: &'static str = "partition scheme";
    const LIST: &'static str = "partitioners";
    // The text is part of the key of the cache, and of published results.
    const SHOWS_DEFAULTS: bool = false;

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Assigns rows to clients, each row to at most one. Only `labels`, `pat`, `file` and `grouped-natural` may leave rows
/// out.
///
/// Returns one list of rows for each client, ascending and not empty. The same arguments give the same lists on every
/// machine. The random streams depend on `seed` and [`Use::Partition`] alone, and logarithms do not come from the
/// system.
///
/// # Errors
/// Returns an error if there is no client, or there are more clients than rows, and if a label is not below `classes`.
/// A scheme refuses parameters that the rows cannot meet, with the bound, and draws that do not meet them.
pub fn partition(
    scheme: &Scheme,
    labelled: &Labelled<'_>,
    clients: u32,
    seed: u64,
) -> Result<Vec<Vec<u32>>, DataError> {
    let Labelled { examples, labels, classes, .. } = *labelled;
    let examples = u32::try_from(examples).map_err(|_| DataError::TooManyExamples { examples })?;
    if clients == 0 {
        return Err(DataError::NoClients);
    }
    if clients > examples {
        return Err(DataError::TooManyClients { clients, examples });
    }
    if let Some(row) = labels.iter().position(|&label| label >= classes) {
        return Err(DataError::LabelOutOfRange { row, label: labels[row], classes });
    }
    let parts = scheme.deal(labelled, clients, seed)?;
    match parts.iter().position(Vec::is_empty) {
        Some(client) => Err(DataError::EmptyClient { scheme: scheme.to_string(), client, clients }),
        None => Ok(parts),
    }
}

/// Returns a scheme whose split by hand is that of the file now, with the number of clients of the file. Returns `None`
/// for a scheme without a file, and for one that has the SHA-256 of its file already.
///
/// # Errors
/// The file cannot be read, or a line of it is refused.
pub fn pin_split(scheme: &Scheme) -> Result<Option<(Scheme, u32)>, DataError> {
    let Some(PinnedFile { path, .. }) = scheme.split_file().filter(|file| !file.is_pinned()) else {
        return Ok(None);
    };
    let SplitTable { sha256, clients, .. } = SplitTable::read(path)?;
    Ok(Some((scheme.pinned(path, &sha256)?, clients)))
}

/// Returns the key of a scheme's stream; a scheme that draws again counts its attempts.
fn key(seed: u64, attempt: u64) -> Key {
    Key { seed, purpose: Use::Partition, client: 0, round: 0, epoch: attempt }
}

/// The number of draws before a scheme that draws again fails.
const TRIES: u64 = 1000;

#[cfg(test)]
mod tests;
