//! The errors of this crate, each as one sentence with the value, the reason and the remedy.

use std::io;
use std::path::PathBuf;

use crate::{counted::counted, file_cause::FileCause};

/// The reason why data cannot be found, read, dealt or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error(
        "the dataset's name is empty; give `fashion-mnist`, `sample` or the path of your files (see `fedpipe data list`)"
    )]
    NoSource,
    #[error("there is no file or directory {}; give `fashion-mnist`, `sample` or the path of your files (see `fedpipe data list`)", path.display())]
    NoPath { path: PathBuf },
    #[error("{} is no dataset that a reader recognises; give files as `fedpipe data list` describes them", path.display())]
    Unrecognised { path: PathBuf },
    #[error("{} holds several datasets ({}); give a directory with one of them", place.display(), sets.join(", "))]
    SeveralSets { place: PathBuf, sets: Vec<String> },
    #[error("{} has no {what}: looked for {}; put one of them there, plain or with .gz", dir.display(), looked_for.join(", "))]
    MissingFile { dir: PathBuf, what: &'static str, looked_for: Vec<String> },
    #[error("{} is not an IDX file of {wants}: it begins as {}; check that the file is the right one", path.display(), kind_of(*found))]
    Magic { path: PathBuf, found: [u8; 4], wants: &'static str },
    #[error("{} {}; fetch it again", path.display(), truncation(*promised, *found))]
    Truncated { path: PathBuf, promised: u64, found: u64 },
    #[error("{} continues after the {} that its header promises; fetch it again", path.display(), counted(*promised, "byte"))]
    Trailing { path: PathBuf, promised: u64 },
    #[error("{} holds no examples (its sizes are {sizes:?}); give a file with at least one", path.display())]
    Empty { path: PathBuf, sizes: Vec<u32> },
    #[error("{} holds more than this program can take (its sizes are {sizes:?}); at most 2^32 − 1 examples fit", path.display())]
    TooLarge { path: PathBuf, sizes: Vec<u32> },
    #[error("{} holds {} but {} holds {}; give two files that belong together", example_path.display(), counted(*examples, "example"), target_path.display(), counted(*targets, "label"))]
    Counts { example_path: PathBuf, examples: usize, target_path: PathBuf, targets: usize },
    #[error("{} has labels of the sizes {sizes:?}; give one label an example", path.display())]
    LabelColumns { path: PathBuf, sizes: Vec<usize> },
    #[error("{} has the value {value} in row {row}, feature {column}; remove the row, or give it a finite value", path.display())]
    NotFinite { path: PathBuf, row: usize, column: usize, value: f32 },
    #[error("{} has the label {value} at row {row}; labels are whole numbers from 0 to 65535; renumber them, or give `--target real` for a regression", path.display())]
    NotALabel { path: PathBuf, row: usize, value: f64 },
    #[error("{} has the target {value} at row {row}; remove the row, or give it a finite target", path.display())]
    NotATarget { path: PathBuf, row: usize, value: f64 },
    #[error("the test examples in {} have the shape {test:?} but the training examples have {train:?}; give examples of one shape", path.display())]
    Shape { path: PathBuf, test: Vec<usize>, train: Vec<usize> },
    #[error("the test examples in {} are {test} but the training examples are {train}, which a model sees in other units; give examples of one type", path.display())]
    FeatureTypes { path: PathBuf, test: &'static str, train: &'static str },
    #[error("the files in {} are altered: the dataset has the SHA-256 {sha256}, but the published one is {published}; delete them and run again", place.display())]
    Altered { place: PathBuf, sha256: String, published: String },
    #[error("{} has the label {label} at row {row}, but the classes are 0 to {}; correct the label, or the number of classes", path.display(), classes.saturating_sub(1))]
    Label { path: PathBuf, row: usize, label: u32, classes: u32 },

    /// The text of a partition scheme is refused.
    #[error(transparent)]
    Scheme(#[from] fedpipe_spec::error::Error),

    #[error("0 clients cannot share a dataset; give at least 1")]
    NoClients,
    #[error(
        "{} cannot share {}, since each needs one; give at most {}",
        counted(*clients, "client"),
        counted(*examples, "training example"),
        counted(*examples, "client")
    )]
    TooManyClients { clients: u32, examples: u32 },
    #[error("{} are too many; at most 2^32 − 1 fit", counted(*examples, "training example"))]
    TooManyExamples { examples: usize },
    #[error("row {row} has the label {label}, but the classes are 0 to {}; correct the label, or the number of classes", classes.saturating_sub(1))]
    LabelOutOfRange { row: usize, label: u32, classes: u32 },
    #[error(
        "{} cannot have {} each, since there are {examples}; lower `min-size` or the number of clients",
        counted(*clients, "client"),
        counted(*min_size, "training example")
    )]
    MinSizeImpossible { min_size: u32, clients: u32, examples: u32 },
    #[error(
        "no Dirichlet draw of {tries} with alpha {alpha} gave each of {} {}; {remedy}",
        counted(*clients, "client"),
        counted(*min_size, "example")
    )]
    DirichletGaveUp { alpha: f64, min_size: u32, clients: u32, tries: u64, remedy: &'static str },
    #[error(
        "{} cannot have {} each of {}; lower `per-client` or the number of clients",
        counted(*clients, "client"),
        counted(*per_client, "shard"),
        counted(*examples, "training example")
    )]
    TooManyShards { per_client: u32, clients: u32, examples: u32 },

    #[error("a client cannot have {} of the {labels} that have an example; lower `k`", counted(*k, "label"))]
    TooFewLabels { k: u32, labels: usize },
    #[error(
        "{} with {} each cannot hold all {labels}; raise `k`, or give at least {}",
        counted(*clients, "client"),
        counted(*k, "label"),
        counted(labels.div_ceil(*k as usize) as u64, "client")
    )]
    TooFewHolders { k: u32, clients: u32, labels: usize },
    #[error(
        "under `{scheme}` client 0 of {clients} would have no example of {examples}; give at most {}",
        counted(*most, "client")
    )]
    FirstClientEmpty { scheme: &'static str, clients: u32, examples: u32, most: u32 },
    #[error("under `{scheme}` client {client} of {clients} would have no example; give fewer clients, or other values")]
    EmptyClient { scheme: String, client: usize, clients: u32 },
    #[error("the clients are {clients}, but {what} has {decided}; leave out the number of clients, or give {decided}")]
    OtherClients { what: String, decided: u32, clients: u32 },
    #[error("{}, line {line}: {why}", path.display())]
    SplitLine { path: PathBuf, line: u64, why: String },
    #[error(
        "`{scheme}` deals by label, and the targets are real numbers; give a scheme such as iid, quantity or natural"
    )]
    NoLabels { scheme: &'static str },
    #[error(
        "the dataset has no natural clients; name their column with --client-column, or give another partition scheme"
    )]
    NoNaturalClients,
    #[error("the split in {} was not read", path.display())]
    NoSplit { path: PathBuf },
    #[error(
        "{} has the SHA-256 {found:.16}, but the experiment was given {expected:.16}; put the file back, or give it anew",
        path.display()
    )]
    SplitChanged { path: PathBuf, found: String, expected: String },

    #[error(
        "the share {share} holds out no row of any partition, the largest of which has {}; give at least {}",
        counted(*most, "row"),
        crate::holdout::Holdout::least_share(*most as u64)
    )]
    NothingHeldOut { share: f64, most: usize },

    #[error(
        "under `own` the partitions are in the hands of {}, and none are dealt; give another partition scheme",
        counted(*clients, "client")
    )]
    OwnPartitions { clients: u32 },

    #[error("there is no home directory for the cache; set XDG_CACHE_HOME to a directory that you can write")]
    NoHome,
    #[error("the cache at {} cannot be written: {source}{}", path.display(), FileCause::of(source).remedy("set XDG_CACHE_HOME to a directory that you can write"))]
    Cache { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {source}{}", path.display(), FileCause::of(source).remedy("check that it exists and that you may read it"))]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no regular file; give a file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is no gzip file, since it starts with \"{}\"; fetch it again", path.display(), start.escape_ascii())]
    NotGzip { path: PathBuf, start: Vec<u8> },
    #[error("Fashion-MNIST could not be fetched ({}); install Debian's package dataset-fashion-mnist, or put the four files in a directory and give that as the dataset", reasons.join("; "))]
    Unavailable { reasons: Vec<String> },
    #[error("{} is not a partition file: {reason}; deal the partitions again", path.display())]
    NotAPartition { path: PathBuf, reason: String },
    #[error("{} has contents with SHA-256 {found:.16}, the run's have {expected:.16}: the file was changed since it was dealt; delete the cache entry {} and run again", path.display(), path.parent().unwrap_or(path).display())]
    Content { path: PathBuf, found: String, expected: String },
    /// The error of a client about its data, as one sentence.
    #[error("{0}")]
    Reported(String),
}

fn truncation(promised: u64, found: u64) -> String {
    match found {
        0 => "is empty".to_owned(),
        _ => format!("is truncated: its header promises {} and it has {found}", counted(promised, "byte")),
    }
}

/// Returns the kind of file that begins with these bytes.
fn kind_of(start: [u8; 4]) -> String {
    match start {
        [0, 0, 8..=14, 1] => "an IDX file of labels does".to_owned(),
        [0, 0, 8..=14, 3 | 4] => "an IDX file of images does".to_owned(),
        [0x1f, 0x8b, ..] => "a gzip file does (it is compressed twice)".to_owned(),
        [b'P', b'K', ..] => "a zip file does".to_owned(),
        [0xfd, b'7', b'z', b'X'] => "an xz file does".to_owned(),
        [b'<', ..] => "HTML does".to_owned(),
        _ if start.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') => {
            format!("the text \"{}\" does", start.escape_ascii())
        }
        _ => format!("no known file does ({start:02x?})"),
    }
}
