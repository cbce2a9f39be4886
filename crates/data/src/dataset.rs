//! A dataset in memory, while it is dealt, and what is told of it.

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::checksum::{self, Hashing};
use crate::idx::{self, Kind};

/// What a run needs to know of a dataset without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// `fashion-mnist`, `sample`, or the directory's last name.
    pub name: String,
    /// The content's identity, in hexadecimal: the SHA-256 of the text that `sha256sum train-images-idx3-ubyte
    /// train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte` prints for the decompressed files.
    pub sha256: String,
    /// The shape of one example, such as `[28, 28]`.
    pub shape: Vec<usize>,
    /// 1 + the largest training label, or the largest of all where the partitions are the clients' own.
    pub classes: u32,
    /// Training examples, over all clients.
    pub train_examples: u64,
    /// Test examples.
    pub test_examples: u64,
    /// Whether this is the shipped sample, whose accuracies say little.
    pub sample: bool,
}

/// Images with their labels: one half of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Examples {
    /// The shape of one example.
    pub(crate) shape: Vec<usize>,
    /// (n, shape…), row-major.
    pub(crate) pixels: Vec<u8>,
    /// (n)
    pub(crate) labels: Vec<u32>,
}

/// A whole dataset, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dataset {
    pub(crate) info: DatasetInfo,
    pub(crate) train: Examples,
    pub(crate) test: Examples,
}

/// What is read of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it; the test set has no class that the training set has not.
    Whole,
    /// All of it, on the machine of one client, who need not have examples of every class that is tested.
    Own,
    /// The test set.
    Test,
}

/// The four files of a dataset, in the order in which they are hashed: training images and labels, test images and
/// labels.
pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The identity of a dataset from the SHA-256 of its four files, or of the last two; see [`DatasetInfo::sha256`].
pub(crate) fn identity<S: AsRef<str>>(hashes: &[S]) -> String {
    let files = &FILES[FILES.len() - hashes.len()..];
    let lines: Vec<String> =
        hashes.iter().zip(files).map(|(hash, file)| format!("{}  {file}\n", hash.as_ref())).collect();
    checksum::of_text(&lines.concat())
}

/// One of the four files, opened.
pub(crate) struct Input {
    /// The decompressed content.
    pub(crate) reader: Box<dyn Read>,
    /// The most bytes that it can have.
    pub(crate) room: u64,
}

impl Dataset {
    /// Reads the files, which `open` opens by their place in `paths`: the four of [`FILES`], or the last two. The identity
    /// is computed on the way, and must be the `published` one of a dataset that has one.
    ///
    /// # Errors
    /// Where a file is not what it should be or they do not fit together.
    pub(crate) fn read(
        name: &str,
        paths: &[PathBuf],
        wanted: Wanted,
        published: Option<&str>,
        open: &dyn Fn(usize) -> Result<Input, DataError>,
    ) -> Result<Self, DataError> {
        let mut hashes = Vec::with_capacity(paths.len());
        let mut read = |i: usize, kind| {
            let input = open(i)?;
            let mut reader = Hashing::new(input.reader);
            let idx = idx::read(&mut reader, kind, &paths[i], input.room)?;
            hashes.push(reader.finish());
            Ok::<_, DataError>(idx)
        };
        let mut half = |i: usize| {
            let images = read(i, Kind::Images)?;
            let labels = read(i + 1, Kind::Labels)?;
            idx::join(images, &paths[i], labels, &paths[i + 1])
        };
        let train = (wanted != Wanted::Test).then(|| half(0)).transpose()?;
        let test = half(paths.len() - 2)?;
        let train = train.unwrap_or_else(|| Examples { shape: test.shape.clone(), pixels: vec![], labels: vec![] });
        let sha256 = identity(&hashes);
        if let Some(published) = published.filter(|published| *published != sha256) {
            let place = paths[0].parent().unwrap_or(&paths[0]).to_owned();
            return Err(DataError::Altered { place, sha256, published: published.to_owned() });
        }
        Self::new(name, sha256, train, test, wanted, paths)
    }

    fn new(
        name: &str,
        sha256: String,
        train: Examples,
        test: Examples,
        wanted: Wanted,
        paths: &[PathBuf],
    ) -> Result<Self, DataError> {
        if train.shape != test.shape {
            return Err(DataError::Shape { path: paths[2].clone(), test: test.shape, train: train.shape });
        }
        let counted: &[&Examples] = if wanted == Wanted::Whole { &[&train] } else { &[&train, &test] };
        let classes = 1 + counted.iter().flat_map(|half| &half.labels).copied().max().unwrap_or(0);
        if let Some(row) = test.labels.iter().position(|&label| label >= classes) {
            return Err(DataError::Label { path: paths[3].clone(), row, label: test.labels[row], classes });
        }
        let info = DatasetInfo {
            name: name.to_owned(),
            sha256,
            shape: train.shape.clone(),
            classes,
            train_examples: train.labels.len() as u64,
            test_examples: test.labels.len() as u64,
            sample: false,
        };
        Ok(Self { info, train, test })
    }
}
