//! The errors of this crate, each as one sentence with the value, the reason and the remedy.

use std::io;
use std::path::{Path, PathBuf};

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
    #[error("{} has the label {value} at {}; labels are whole numbers from 0 to 65535; renumber them, or give `--target real` for a regression", path.display(), row_of(path, *row))]
    NotALabel { path: PathBuf, row: usize, value: f64 },
    #[error("{} has the target {value} at {}; remove the row, or give it a finite target", path.display(), row_of(path, *row))]
    NotATarget { path: PathBuf, row: usize, value: f64 },
    #[error("{flag} has no effect on the data of the reader {reader}; leave it out")]
    NoEffect { flag: &'static str, reader: &'static str },
    #[error(
        "the size {text:?} is none; give height and width from 1 to 4096, such as 28x28, or 28x28x3 for colour and 28x28x1 for grey"
    )]
    ImageSize { text: String },
    #[error("{} has no test set; give --test-split 0.2, or --test-data and a file if it is a table", path.display())]
    NoTestSet { path: PathBuf },
    #[error("{} has a test set; leave out --test-split", path.display())]
    TwoTestSets { path: PathBuf },
    #[error("--test-data {} {} --data; give another file, or leave out --test-data and give --test-split 0.2", path.display(), if *is_copy { "has the same content as" } else { "is the same file as" })]
    SameTestData { path: PathBuf, is_copy: bool },
    #[error("{} is a directory, whose test set are the files that begin with `test`; leave out --test-data, or give --data a file", path.display())]
    TestOfDirectory { path: PathBuf },
    #[error(
        "under `own` the host and its clients have one test set, which --test-split would draw from each one's data; give files with a test set"
    )]
    SplitUnderOwn,
    #[error(
        "the test split {text:?} is none; give a number between 0 and 1, or per-client:SHARE,merge such as per-client:0.25,merge, in which each client holds out its own share of the training and test examples together (--holdout keeps the test set)"
    )]
    TestSplitRule { text: String },
    #[error("the test split of {} leaves {} and {}; give another --test-split", path.display(), counted(*train, "training example"), counted(*test, "test example"))]
    EmptySplit { path: PathBuf, train: usize, test: usize },
    #[error("{} has the class {name:?}, but under `own` nobody sees all names; number the classes from 0", path.display())]
    NamesUnderOwn { path: PathBuf, name: String },
    #[error("{} has {classes} names of classes; at most 65536 fit; give another --label, or --target real for a regression", path.display())]
    TooManyClasses { path: PathBuf, classes: usize },
    #[error("{} has the class {text:?} at {} of the test set and no training example of it; add one, or remove the row", path.display(), row_of(path, *row))]
    UnknownClass { path: PathBuf, row: usize, text: String },
    #[error("{} has the target {text:?} at {}, which is no number; {}", path.display(), row_of(path, *row), number_remedy(text, "give another --label, or leave out --target real"))]
    NoNumber { path: PathBuf, row: usize, text: String },
    #[error("{} has two columns {column}; rename one", path.display())]
    SameColumns { path: PathBuf, column: String },
    #[error("--label is missing: {} names no column of targets; give --label and one of {columns}", path.display())]
    NoLabel { path: PathBuf, columns: String },
    #[error("{} has no column {column}; give {flag} and one of {columns}", path.display())]
    NoColumn { path: PathBuf, flag: &'static str, column: String, columns: String },
    #[error("{} has no column left for the features (its columns are {columns}); add one", path.display())]
    NoFeatures { path: PathBuf, columns: String },
    #[error("{} has the columns {columns}, but the training set has {expected}; give files with the same columns", path.display())]
    OtherColumns { path: PathBuf, columns: String, expected: String },
    #[error("{} has no value{} in {}, column {column}; give one, or remove the row", path.display(), in_brackets(text), row_of(path, *row))]
    MissingValue { path: PathBuf, row: usize, column: String, text: String },
    #[error("{} has a line break in {}, column {column}; close the quote before it, or remove it", path.display(), row_of(path, *row))]
    LineBreak { path: PathBuf, row: usize, column: String },
    #[error("{} has no name for column {column} (columns count from 0); name it in the first line, or remove it (pandas writes row numbers there; save with index=False)", path.display())]
    UnnamedColumn { path: PathBuf, column: usize },
    #[error("{} names the classes {names}, but the training set {expected}; give files with the same names", path.display())]
    OtherNames { path: PathBuf, names: String, expected: String },
    #[error("{} has {text:?} in {}, column {column}, which is no finite number of 32 bits; {}", path.display(), row_of(path, *row), number_remedy(text, "encode the column as numbers, or remove it"))]
    FeatureText { path: PathBuf, row: usize, column: String, text: String },
    #[error("{} has no rows; give a file with at least one", path.display())]
    NoRows { path: PathBuf },
    #[error("{} has images and other features (its columns of features are {columns}); keep one column of images", path.display())]
    ImageColumns { path: PathBuf, columns: String },
    #[error("{} begins with the values {columns}, which are a row; name the columns in the first line", path.display())]
    NoHeader { path: PathBuf, columns: String },
    #[error("{} cannot be read as a table: {reason}; correct the file, or export it as CSV", path.display())]
    Csv { path: PathBuf, reason: String },
    #[error("{} is a Parquet file, which this fedpipe is built without; build it with `cargo build --release --features fedpipe/parquet`, or give a CSV file", path.display())]
    NoParquet { path: PathBuf },
    #[error("{} cannot be read as a Parquet file: {reason}; write it again, with the compression snappy or zstd", path.display())]
    Parquet { path: PathBuf, reason: String },
    #[error("{} has {value} in {}, column {column}, which is no value of such a column; cast it to numbers or texts, or remove the column", path.display(), row_of(path, *row))]
    ColumnType { path: PathBuf, row: usize, column: String, value: String },
    #[error("{} cannot be read as a NumPy array: {reason}", path.display())]
    Npy { path: PathBuf, reason: String },
    #[error("{} has no array with a known name (it has {names}); name them x_train, y_train, x_test and y_test", path.display())]
    NoArrays { path: PathBuf, names: String },
    #[error("{} lacks {what}; add the array", path.display())]
    MissingArray { path: PathBuf, what: &'static str },
    #[error("{} has the client {value} at row {row}, which is no number below 2^53; give the clients as texts", path.display())]
    ClientNumber { path: PathBuf, row: usize, value: f64 },
    #[error("{place} cannot be decoded: {reason}; give png or jpeg files")]
    Image { place: String, reason: String },
    #[error("{} has no png or jpeg file, and each folder there is a class; add images, or remove the folder", folder.display())]
    NoImages { folder: PathBuf },
    #[error(
        "{name} has the size {size:?} and {other} {other_size:?} (height, width, channels); give --image-size, such as 28x28"
    )]
    ImageSizes { name: String, size: [usize; 3], other: String, other_size: [usize; 3] },
    #[error(
        "of {name} and {other} one is grey and one in colour; give --image-size HEIGHTxWIDTHx1 for grey, or x3 for colour"
    )]
    ImageColours { name: String, other: String },
    #[error("{} has images by class, which are no real targets; leave out --target real", path.display())]
    RealImages { path: PathBuf },
    #[error("the test examples in {} have the shape {test:?} but the training examples have {train:?}; give examples of one shape", path.display())]
    Shape { path: PathBuf, test: Vec<usize>, train: Vec<usize> },
    #[error("the test examples in {} are {test} but the training examples are {train}, which a model sees in other units; give examples of one type", path.display())]
    FeatureTypes { path: PathBuf, test: &'static str, train: &'static str },
    #[error("the files in {} are altered: the dataset has the SHA-256 {sha256}, but the published one is {published}; delete them and run again", place.display())]
    Altered { place: PathBuf, sha256: String, published: String },
    #[error("{} has the label {label} at {}, but the classes are 0 to {}; correct the label, or the number of classes", path.display(), row_of(path, *row), classes.saturating_sub(1))]
    Label { path: PathBuf, row: usize, label: u32, classes: u32 },

    #[error(
        "{place} has examples of the shape {found:?}, but the model was trained on {expected:?}; give examples of that shape"
    )]
    OtherShape { place: String, found: Vec<usize>, expected: Vec<usize> },
    #[error(
        "{place} has features of the type {found}, but the model was trained on {expected}, which it sees in other units; give examples of that type"
    )]
    OtherFeatures { place: String, found: &'static str, expected: &'static str },
    #[error("{place} has the class {class:?}, which the model was not trained on; its classes are {known}")]
    OtherClass { place: String, class: String, known: String },
    #[error("{} is neither an image (png, jpeg), an array (.npy) nor a table (.csv, .tsv); give one of these", path.display())]
    NoInput { path: PathBuf },
    #[error("{} is an image, but the model was trained on examples of the shape {shape:?}; give a table or an array", path.display())]
    NoImageShape { path: PathBuf, shape: Vec<usize> },

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
    #[error("the dataset has {} and groups of {size}, which leave {left}; give another `size`, or rest=smaller", counted(*natural, "natural client"))]
    Groups { size: u32, natural: u32, left: u32 },
    #[error(
        "the scheme `continuous` sorts by the column `{column}`, which has one value; give another column, or the strictness 0"
    )]
    ConstantColumn { column: String },
    #[error(
        "the scheme `continuous` has the column `{name}`, which is none; give `by=target`, a feature from 0 to {last}{}",
        or_one_of(known)
    )]
    NoDealtColumn { name: String, last: usize, known: String },
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
    #[error("--standardise has no effect under `own`, since each client has its own rows; scale the files by one rule")]
    StandardiseUnderOwn,
    /// The error of a client about its data, as one sentence.
    #[error("{0}")]
    Reported(String),
}

/// Returns the place of a row in a file. The first row of a table is row 1, since its reader counts in a spreadsheet.
/// The first row of an array has the index 0, as in a program.
pub(crate) fn row_of(path: &Path, row: usize) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let is_table = [".csv", ".tsv", ".parquet"].iter().any(|ending| name.ends_with(ending));
    if is_table { format!("row {} below the names", row + 1) } else { format!("row {row}") }
}

/// Returns a text that stands for a missing value, unless it is empty.
fn in_brackets(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text:?})") }
}

/// Returns the remedy for a text that is no number; `otherwise` for one without a decimal comma.
fn number_remedy(text: &str, otherwise: &str) -> String {
    let with_point = text.replacen(',', ".", 1);
    let is_decimal = text.contains(',') && with_point.parse::<f32>().is_ok();
    if is_decimal { format!("write a decimal point: {with_point}") } else { otherwise.to_owned() }
}

fn or_one_of(known: &str) -> String {
    if known.is_empty() { String::new() } else { format!(", or one of {known}") }
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
