//! A dataset in memory while it is dealt, and its description.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::error::DataError;
use crate::remarks::remarks;
use crate::split::{Split, SplitFeatures, SplitTargets};
use crate::standardisation::Standardisation;

/// The description of a dataset, for a run that does not read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// `fashion-mnist`, `sample`, or the last name of the path.
    pub name: String,
    /// The identity of the content, in hexadecimal. For IDX files of bytes it is the SHA-256 of the text that
    /// `sha256sum train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte` prints
    /// for the decompressed files. For other files it is that of the examples and targets that were read.
    pub sha256: String,
    /// The identity of all examples before `--test-split` drew the test set; `None` if none was drawn. Draws by other
    /// seeds have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn_from: Option<String>,
    /// The shape of one example, such as `[28, 28]`.
    pub shape: Vec<usize>,
    /// The type of the features.
    #[serde(default)]
    pub features: FeatureType,
    /// The kind of the targets.
    #[serde(flatten)]
    pub target: DatasetTarget,
    /// The widest gap in the labels that decide the number of classes; `None` if every class has an example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// The least and the greatest feature of the training examples; `None` without training examples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f32; 2]>,
    /// The statistics by which the features were standardised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standardisation: Option<Standardisation>,
    /// Sentences about contents that may be a mistake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// The number of natural clients, such as writers; `None` if the files do not say which client an example is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub natural_clients: Option<u32>,
    /// The names of the clients, if the natural ones are the clients that the dataset is dealt to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_names: Vec<String>,
    /// The number of training examples, over all clients.
    pub train_examples: u64,
    /// The number of test examples.
    pub test_examples: u64,
    /// `true` for the sample in this crate, which is too small for meaningful accuracies.
    pub sample: bool,
}

/// The type of a dataset's features, as a partition file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureType {
    /// Bytes, which a model sees as x / 255.
    #[default]
    U8,
    /// Values that a model uses as they are.
    F32,
}

impl FeatureType {
    /// Returns the name in a partition file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::U8 => "U8",
            Self::F32 => "F32",
        }
    }
}

/// The kind of a dataset's targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DatasetTarget {
    /// Labels below a number of classes.
    Classes {
        /// The number of classes: 1 + the largest training label. Under `own`, the test labels count, too.
        classes: u32,
        /// The name of each class, if the files have names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        class_names: Vec<String>,
    },
    /// Real numbers, for a regression.
    Real {
        /// The word that stands in the place of the number of classes.
        target: RealTarget,
    },
}

/// The word for real targets in JSON: `real`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RealTarget {
    /// A real number for each example.
    Real,
}

impl DatasetTarget {
    /// Labels below `classes`, which have no names.
    pub const fn classes(classes: u32) -> Self {
        Self::Classes { classes, class_names: Vec::new() }
    }

    /// Real numbers.
    pub const REAL: Self = Self::Real { target: RealTarget::Real };

    /// Returns the name of each class; empty if the files have no names.
    pub fn given_names(&self) -> &[String] {
        match self {
            Self::Classes { class_names, .. } => class_names,
            Self::Real { .. } => &[],
        }
    }

    /// Returns the name of each class, or its number if the files have no names; none for real numbers.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Classes { class_names, .. } if !class_names.is_empty() => class_names.clone(),
            target => (0..target.class_count().unwrap_or(0)).map(|class| class.to_string()).collect(),
        }
    }

    /// Returns the number of classes; `None` for real numbers.
    pub fn class_count(&self) -> Option<u32> {
        match self {
            Self::Classes { classes, .. } => Some(*classes),
            Self::Real { .. } => None,
        }
    }
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
    /// Returns sentences about contents that may be a mistake.
    pub fn warnings(&self) -> Vec<String> {
        let remarks = self.remarks.iter().map(|remark| format!("{} has {remark}", self.name));
        self.gap_warning().into_iter().chain(remarks).collect()
    }

    /// Returns a sentence if a class has no example. A label far above the others may be a mistake, and each label up
    /// to it is a class.
    fn gap_warning(&self) -> Option<String> {
        let Gap { from, label, row, classes } = self.gap.as_ref()?;
        let gap = match label - from {
            1 => format!("the class {from}"),
            _ => format!("the classes {from} to {}", label - 1),
        };
        Some(format!(
            "{} has the label {label} (first at row {row}) and no example of {gap}: the model is given {} classes, {classes} \
             of them without an example; correct the label, or number the classes without gaps, unless this is meant",
            self.name,
            self.target.class_count().unwrap_or_default()
        ))
    }
}

/// The two splits of a dataset as a reader returns them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadSplits {
    pub(crate) train: Split,
    pub(crate) test: Split,
    /// The name of each class; empty if the files have none.
    pub(crate) class_names: Vec<String>,
    /// The name of each feature; empty if the files have none.
    pub(crate) feature_names: Vec<String>,
    /// The identity, if the reader's format has one; otherwise it follows from the content.
    pub(crate) sha256: Option<String>,
    /// The SHA-256 of all examples from which the test set was drawn; see [`examples_sha256`].
    pub(crate) drawn_from: Option<String>,
    /// The files of the test examples and of their targets, for messages.
    pub(crate) test_files: [PathBuf; 2],
}

impl ReadSplits {
    /// Returns the identity of the content: the SHA-256 of a text with a line `HASH  NAME` for each part of it.
    fn identity(&self) -> String {
        let names = self.class_names.iter().map(|name| format!("class {name}\n")).collect::<String>();
        let drawn = self.drawn_from.as_ref().map_or_else(String::new, |sha256| format!("{sha256}  drawn from\n"));
        let [train, test] = [("train", &self.train), ("test", &self.test)].map(|(name, split)| lines(name, split));
        checksum::of_text(&(train + &test + &names + &drawn))
    }
}

/// Returns the SHA-256 of the examples of a split, with their targets and clients.
pub(crate) fn examples_sha256(split: &Split) -> String {
    checksum::of_text(&lines("examples", split))
}

/// Returns a line `HASH  NAME` for each part of a split.
fn lines(name: &str, split: &Split) -> String {
    let [examples, targets, clients] = split.hashes();
    let (shape, features) = (&split.shape, split.features.kind().name());
    format!(
        "{examples}  {name} features {shape:?} {features}\n{targets}  {name} targets {}\n{clients}  {name} clients\n",
        split.targets.type_name()
    )
}

/// A checked dataset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dataset {
    pub(crate) info: DatasetInfo,
    /// The name of each feature; empty if the files have none.
    pub(crate) feature_names: Vec<String>,
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
    /// The test set, or all examples of files without one, for a model that is trained.
    Scored,
}

impl Portion {
    /// Returns `true` if files without a training set suffice.
    pub(crate) fn needs_no_training_set(self) -> bool {
        matches!(self, Self::Test | Self::Scored)
    }
}

impl Dataset {
    /// Checks that the splits belong together, and describes them.
    ///
    /// # Errors
    /// The splits have different shapes, or a test label is of no class.
    pub(crate) fn new(name: &str, splits: ReadSplits, portion: Portion) -> Result<Self, DataError> {
        let sha256 = splits.sha256.clone().unwrap_or_else(|| splits.identity());
        let remarks = if portion == Portion::Whole { remarks(&splits) } else { Vec::new() };
        let ReadSplits { train, test, class_names, feature_names, test_files, drawn_from, .. } = splits;
        let [example_path, target_path] = test_files;
        if train.shape != test.shape {
            return Err(DataError::Shape { path: example_path, test: test.shape, train: train.shape });
        }
        let [of_test, of_train] = [&test, &train].map(|split| split.features.kind().name());
        if of_test != of_train {
            return Err(DataError::FeatureTypes { path: example_path, test: of_test, train: of_train });
        }
        let counted: &[&Split] = if portion == Portion::Whole { &[&train] } else { &[&train, &test] };
        let labels: Vec<u32> = counted.iter().flat_map(|split| split.labels()).copied().collect();
        let target = match &test.targets {
            SplitTargets::Real(_) => DatasetTarget::REAL,
            SplitTargets::Classes(test) => {
                let classes = class_names.len().max(1 + labels.iter().copied().max().unwrap_or(0) as usize) as u32;
                if let Some(row) = test.iter().position(|&label| label >= classes) {
                    return Err(DataError::Label { path: target_path, row, label: test[row], classes });
                }
                DatasetTarget::Classes { classes, class_names }
            }
        };
        let info = DatasetInfo {
            name: name.to_owned(),
            sha256,
            drawn_from,
            shape: train.shape.clone(),
            features: train.features.kind(),
            target,
            // A client need not have examples of every class.
            gap: if portion == Portion::Own { None } else { Gap::widest(&labels) },
            range: train.range(),
            standardisation: None,
            remarks,
            natural_clients: train.clients.as_ref().map(|clients| clients.names.len() as u32),
            client_names: Vec::new(),
            train_examples: train.len() as u64,
            test_examples: test.len() as u64,
            sample: false,
        };
        Ok(Self { info, feature_names, train, test })
    }

    /// Returns the dataset with all examples for training, those of the test set last, and without a test set. The
    /// identity stays, since the content does.
    pub(crate) fn merged(self) -> Self {
        let Self { info, feature_names, train, test } = self;
        let none = Split::empty_like(&train);
        let train = train.joined_by(test);
        let natural_clients = train.clients.as_ref().map(|clients| clients.names.len() as u32);
        let (range, train_examples) = (train.range(), train.len() as u64);
        let info = DatasetInfo { range, natural_clients, train_examples, test_examples: 0, ..info };
        Self { info, feature_names, train, test: none }
    }

    /// Returns a column of the training examples: `target`, or a feature by its name or its number.
    ///
    /// # Errors
    /// There is no such column.
    pub(crate) fn column(&self, name: &str) -> Result<Vec<f64>, DataError> {
        let train = &self.train;
        if name == "target" {
            return Ok(match &train.targets {
                SplitTargets::Classes(labels) => labels.iter().map(|&label| label.into()).collect(),
                SplitTargets::Real(values) => values.iter().map(|&value| value.into()).collect(),
            });
        }
        let columns = train.shape.iter().product();
        let by_name = || self.feature_names.iter().position(|known| known == name);
        let Some(column) = by_name().or_else(|| name.parse().ok()).filter(|column| *column < columns) else {
            let (name, known) = (name.to_owned(), self.feature_names.join(", "));
            return Err(DataError::NoDealtColumn { name, last: columns.saturating_sub(1), known });
        };
        let places = (column..).step_by(columns).take(train.len());
        Ok(match &train.features {
            SplitFeatures::U8(bytes) => places.map(|at| bytes[at].into()).collect(),
            SplitFeatures::F32(values) => places.map(|at| values[at].into()).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
