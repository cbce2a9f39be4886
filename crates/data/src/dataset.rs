//! A dataset in memory while it is dealt, and its description.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::checksum::{self, Hashing};
use crate::error::DataError;
use crate::idx::{self, IdxContent};

/// The description of a dataset, for a run that does not read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// `fashion-mnist`, `sample`, or the directory's last name.
    pub name: String,
    /// The identity of the content, in hexadecimal: the SHA-256 of the text that `sha256sum train-images-idx3-ubyte
    /// train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte` prints for the decompressed files.
    pub sha256: String,
    /// The shape of one example, such as `[28, 28]`.
    pub shape: Vec<usize>,
    /// The number of classes: 1 + the largest training label. Under `own`, the test labels count, too.
    pub classes: u32,
    /// The widest gap in the labels that decide `classes`; `None` if every class has an example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// The number of training examples, over all clients.
    pub train_examples: u64,
    /// The number of test examples.
    pub test_examples: u64,
    /// `true` for the sample in this crate, which is too small for meaningful accuracies.
    pub sample: bool,
}

/// Classes in a row that have no example, below one that has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The lowest class of the gap.
    pub from: u32,
    /// The label above the gap.
    pub label: u32,
    /// The first row with that label, in the file of labels.
    pub row: u64,
    /// Classes without an example, in this gap and others.
    pub classes: u32,
}

impl Gap {
    /// Returns the widest gap in `labels`.
    fn widest(labels: &[u32]) -> Option<Self> {
        let present: BTreeSet<u32> = labels.iter().copied().collect();
        let largest = *present.last()?;
        let classes = largest + 1 - present.len() as u32;
        let lowest = [0].into_iter().chain(present.iter().map(|label| label + 1));
        let gaps = lowest.zip(&present).map(|(from, &label)| (from, label));
        let (from, label) = gaps.max_by_key(|(from, label)| label - from).filter(|(from, label)| from < label)?;
        let row = labels.iter().position(|&other| other == label)? as u64;
        Some(Self { from, label, row, classes })
    }
}

impl DatasetInfo {
    /// Returns a sentence if a class has no example. A label far above the others may be a mistake, and each label up
    /// to it is a class.
    pub fn warning(&self) -> Option<String> {
        let Gap { from, label, row, classes } = self.gap.as_ref()?;
        let gap = match label - from {
            1 => format!("the class {from}"),
            _ => format!("the classes {from} to {}", label - 1),
        };
        Some(format!(
            "{} has the label {label} (first at row {row}) and no example of {gap}: the model is given {} classes, {classes} \
             of them without an example; correct the label, or number the classes without gaps, unless this is meant",
            self.name, self.classes
        ))
    }
}

/// One split of a dataset: the training or the test examples, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// The shape of one example.
    pub(crate) shape: Vec<usize>,
    /// (n, shape…), row-major.
    pub(crate) pixels: Vec<u8>,
    /// (n)
    pub(crate) labels: Vec<u32>,
}

impl Split {
    /// Returns the number of examples of each class among some rows.
    pub(crate) fn label_counts(&self, rows: &[u32], classes: u32) -> Vec<u64> {
        let mut counts = vec![0; classes as usize];
        rows.iter().for_each(|row| counts[self.labels[*row as usize] as usize] += 1);
        counts
    }
}

/// A checked dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dataset {
    pub(crate) info: DatasetInfo,
    pub(crate) train: Split,
    pub(crate) test: Split,
}

/// The portion of a dataset that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    /// Both splits. Each class of the test set must occur in the training set.
    Whole,
    /// Both splits, on the machine of one client. The client may lack examples of some classes.
    Own,
    /// The test set only.
    Test,
}

/// The four files of a dataset in the order of the hash: training images and labels, test images and labels.
pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Returns the identity of a dataset from the SHA-256 of its four files, or of the last two; see
/// [`DatasetInfo::sha256`].
pub(crate) fn identity<S: AsRef<str>>(hashes: &[S]) -> String {
    let files = &FILES[FILES.len() - hashes.len()..];
    let lines: Vec<String> =
        hashes.iter().zip(files).map(|(hash, file)| format!("{}  {file}\n", hash.as_ref())).collect();
    checksum::of_text(&lines.concat())
}

/// An open file of a dataset.
pub(crate) struct Input {
    /// The decompressed content.
    pub(crate) reader: Box<dyn Read>,
    /// The largest possible number of bytes of the content.
    pub(crate) room: u64,
}

/// The two splits of a dataset as its files have them, with the identity of those files.
struct Halves {
    train: Split,
    test: Split,
    sha256: String,
}

impl Halves {
    /// Reads the files; without those of the training set, its split is empty.
    fn read(
        paths: &[PathBuf],
        portion: Portion,
        open: &dyn Fn(usize) -> Result<Input, DataError>,
    ) -> Result<Self, DataError> {
        let mut hashes = Vec::with_capacity(paths.len());
        let mut read = |i: usize, content| {
            let input = open(i)?;
            let mut reader = Hashing::new(input.reader);
            let idx = idx::read(&mut reader, content, &paths[i], input.room)?;
            hashes.push(reader.finish());
            Ok::<_, DataError>(idx)
        };
        let mut half = |i: usize| {
            let images = read(i, IdxContent::Images)?;
            let labels = read(i + 1, IdxContent::Labels)?;
            idx::join(images, &paths[i], labels, &paths[i + 1])
        };
        let train = (portion != Portion::Test).then(|| half(0)).transpose()?;
        let test = half(paths.len() - 2)?;
        let train = train.unwrap_or_else(|| Split { shape: test.shape.clone(), pixels: vec![], labels: vec![] });
        Ok(Self { train, test, sha256: identity(&hashes) })
    }
}

impl Dataset {
    /// Reads the files at `paths`, which are the four of [`FILES`] or the last two. `open` opens a file by its index.
    ///
    /// The identity is computed while the files are read, and must equal `published` if that is given.
    ///
    /// # Errors
    /// A file is damaged, or the files do not belong together.
    pub(crate) fn read(
        name: &str,
        paths: &[PathBuf],
        portion: Portion,
        published: Option<&str>,
        open: &dyn Fn(usize) -> Result<Input, DataError>,
    ) -> Result<Self, DataError> {
        let halves = Halves::read(paths, portion, open)?;
        if let Some(published) = published.filter(|published| *published != halves.sha256) {
            let place = paths[0].parent().unwrap_or(&paths[0]).to_owned();
            let sha256 = halves.sha256;
            return Err(DataError::Altered { place, sha256, published: published.to_owned() });
        }
        Self::new(name, halves, portion, paths)
    }

    fn new(name: &str, halves: Halves, portion: Portion, paths: &[PathBuf]) -> Result<Self, DataError> {
        let Halves { train, test, sha256 } = halves;
        if train.shape != test.shape {
            return Err(DataError::Shape { path: paths[2].clone(), test: test.shape, train: train.shape });
        }
        let counted: &[&Split] = if portion == Portion::Whole { &[&train] } else { &[&train, &test] };
        let labels: Vec<u32> = counted.iter().flat_map(|half| &half.labels).copied().collect();
        let classes = 1 + labels.iter().copied().max().unwrap_or(0);
        if let Some(row) = test.labels.iter().position(|&label| label >= classes) {
            return Err(DataError::Label { path: paths[3].clone(), row, label: test.labels[row], classes });
        }
        let info = DatasetInfo {
            name: name.to_owned(),
            sha256,
            shape: train.shape.clone(),
            classes,
            // A client need not have examples of every class.
            gap: if portion == Portion::Own { None } else { Gap::widest(&labels) },
            train_examples: train.labels.len() as u64,
            test_examples: test.labels.len() as u64,
            sample: false,
        };
        Ok(Self { info, train, test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_gap_is_that_below_a_label_far_above_the_others() {
        let gap = |from, label, row, classes| Some(Gap { from, label, row, classes });
        let cases: [(&[u32], Option<Gap>); 6] = [
            (&[], None),
            (&[2, 0, 1, 1], None),
            (&[0, 1, 255, 2, 255], gap(3, 255, 2, 252)),
            (&[1, 2], gap(0, 1, 0, 1)),
            (&[0, 7], gap(1, 7, 1, 6)),
            (&[9, 0, 2], gap(3, 9, 0, 7)),
        ];
        for (labels, expected) in cases {
            assert_eq!(Gap::widest(labels), expected, "{labels:?}");
        }
    }
}
