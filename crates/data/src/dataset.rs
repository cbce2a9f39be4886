//! A dataset in memory while it is dealt, and its description.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::error::DataError;

/// The description of a dataset, for a run that does not read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// `fashion-mnist`, `sample`, or the last name of the path.
    pub name: String,
    /// The identity of the content, in hexadecimal. For IDX files of bytes it is the SHA-256 of the text that
    /// `sha256sum train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte` prints
    /// for the decompressed files. For other files it is that of the examples and targets that were read.
    pub sha256: String,
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
    /// The number of natural clients, such as writers; `None` if the files do not say which client an example is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub natural_clients: Option<u32>,
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
            self.name,
            self.target.class_count().unwrap_or_default()
        ))
    }
}

/// One split of a dataset: the training or the test examples, with their targets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Split {
    /// The shape of one example.
    pub(crate) shape: Vec<usize>,
    /// (n, shape…), row-major.
    pub(crate) features: SplitFeatures,
    /// (n)
    pub(crate) targets: SplitTargets,
    /// The client that each example comes from, if the files say so.
    pub(crate) clients: Option<NaturalClients>,
}

/// The features of a split.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SplitFeatures {
    /// Bytes, which a model sees as x / 255.
    U8(Vec<u8>),
    /// Values that a model uses as they are.
    F32(Vec<f32>),
}

/// The targets of a split.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SplitTargets {
    /// A label for each example.
    Classes(Vec<u32>),
    /// A real number for each example.
    Real(Vec<f32>),
}

/// The natural clients of a split, such as the writers of its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NaturalClients {
    /// The names in the files, in their order of numbers.
    pub(crate) names: Vec<String>,
    /// The number of each row's client: (n).
    pub(crate) of_row: Vec<u32>,
}

impl Split {
    /// Returns a split without examples, whose shape and kinds are those of `other`.
    pub(crate) fn empty_like(other: &Self) -> Self {
        let features = match other.features {
            SplitFeatures::U8(_) => SplitFeatures::U8(Vec::new()),
            SplitFeatures::F32(_) => SplitFeatures::F32(Vec::new()),
        };
        let targets = match other.targets {
            SplitTargets::Classes(_) => SplitTargets::Classes(Vec::new()),
            SplitTargets::Real(_) => SplitTargets::Real(Vec::new()),
        };
        Self { shape: other.shape.clone(), features, targets, clients: None }
    }

    /// Returns the number of examples.
    pub(crate) fn len(&self) -> usize {
        match &self.targets {
            SplitTargets::Classes(labels) => labels.len(),
            SplitTargets::Real(values) => values.len(),
        }
    }

    /// Returns the labels; none for real targets.
    pub(crate) fn labels(&self) -> &[u32] {
        match &self.targets {
            SplitTargets::Classes(labels) => labels,
            SplitTargets::Real(_) => &[],
        }
    }

    /// Returns the least and the greatest feature.
    fn range(&self) -> Option<[f32; 2]> {
        match &self.features {
            SplitFeatures::U8(bytes) => Some([bytes.iter().min()?, bytes.iter().max()?].map(|&byte| f32::from(byte))),
            SplitFeatures::F32(values) => {
                let first = *values.first()?;
                let widen = |[least, most]: [f32; 2], &value: &f32| {
                    [if value < least { value } else { least }, if value > most { value } else { most }]
                };
                Some(values.iter().fold([first; 2], widen))
            }
        }
    }

    /// Returns the SHA-256 of the examples, of the targets, and of the clients' names by row.
    fn hashes(&self) -> [String; 3] {
        let examples = match &self.features {
            SplitFeatures::U8(bytes) => checksum::pieces_sha256([bytes.as_slice()]),
            SplitFeatures::F32(values) => values_sha256(values.iter().map(|value| value.to_le_bytes())),
        };
        let targets = match &self.targets {
            SplitTargets::Classes(labels) => values_sha256(labels.iter().map(|label| label.to_le_bytes())),
            SplitTargets::Real(values) => values_sha256(values.iter().map(|value| value.to_le_bytes())),
        };
        let names = self.clients.iter().flat_map(|clients| {
            clients.of_row.iter().map(|&client| [clients.names[client as usize].as_str(), "\n"].concat())
        });
        [examples, targets, checksum::of_text(&names.collect::<String>())]
    }
}

fn values_sha256(values: impl Iterator<Item = [u8; 4]>) -> String {
    checksum::pieces_sha256([values.flatten().collect::<Vec<u8>>().as_slice()])
}

/// The two splits of a dataset as a reader returns them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadSplits {
    pub(crate) train: Split,
    pub(crate) test: Split,
    /// The name of each class; empty if the files have none.
    pub(crate) class_names: Vec<String>,
    /// The identity, if the reader's format has one; otherwise it follows from the content.
    pub(crate) sha256: Option<String>,
    /// The files of the test examples and of their targets, for messages.
    pub(crate) test_files: [PathBuf; 2],
}

impl ReadSplits {
    /// Returns the identity of the content: the SHA-256 of a text with a line `HASH  NAME` for each part of it.
    fn identity(&self) -> String {
        let splits = [("train", &self.train), ("test", &self.test)];
        let lines = splits.iter().flat_map(|(name, split)| {
            let [examples, targets, clients] = split.hashes();
            [
                format!("{examples}  {name} examples {:?} {}\n", split.shape, split.features.kind().name()),
                format!("{targets}  {name} targets {}\n", split.targets.type_name()),
                format!("{clients}  {name} clients\n"),
            ]
        });
        let names = self.class_names.iter().map(|name| format!("class {name}\n"));
        checksum::of_text(&lines.chain(names).collect::<String>())
    }
}

impl SplitFeatures {
    /// Returns the type of the values.
    pub(crate) fn kind(&self) -> FeatureType {
        match self {
            Self::U8(_) => FeatureType::U8,
            Self::F32(_) => FeatureType::F32,
        }
    }
}

impl SplitTargets {
    /// Returns the type as a partition file has it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Classes(_) => "U32",
            Self::Real(_) => "F32",
        }
    }
}

impl Split {
    /// Returns the number of examples of each class among some rows; empty without classes.
    pub(crate) fn label_counts(&self, rows: &[u32], classes: Option<u32>) -> Vec<u64> {
        let Some(classes) = classes else { return Vec::new() };
        let mut counts = vec![0; classes as usize];
        rows.iter().for_each(|row| counts[self.labels()[*row as usize] as usize] += 1);
        counts
    }
}

/// A checked dataset.
#[derive(Clone, Debug, PartialEq)]
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

impl Dataset {
    /// Checks that the splits belong together, and describes them.
    ///
    /// # Errors
    /// The splits have different shapes, or a test label is of no class.
    pub(crate) fn new(name: &str, splits: ReadSplits, portion: Portion) -> Result<Self, DataError> {
        let sha256 = splits.sha256.clone().unwrap_or_else(|| splits.identity());
        let ReadSplits { train, test, class_names, test_files: [example_path, target_path], .. } = splits;
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
            shape: train.shape.clone(),
            features: train.features.kind(),
            target,
            // A client need not have examples of every class.
            gap: if portion == Portion::Own { None } else { Gap::widest(&labels) },
            range: train.range(),
            natural_clients: train.clients.as_ref().map(|clients| clients.names.len() as u32),
            train_examples: train.len() as u64,
            test_examples: test.len() as u64,
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

    fn info(target: DatasetTarget) -> DatasetInfo {
        let split = || Split {
            shape: vec![1],
            features: SplitFeatures::F32(vec![0.5, -1.25]),
            targets: SplitTargets::Classes(vec![0, 1]),
            clients: None,
        };
        let splits = ReadSplits {
            train: split(),
            test: split(),
            class_names: Vec::new(),
            sha256: None,
            test_files: Default::default(),
        };
        DatasetInfo { target, ..Dataset::new("x", splits, Portion::Whole).unwrap().info }
    }

    /// Readers of a ledger find the number of classes beside the shape.
    #[test]
    fn a_description_is_read_as_it_is_written() {
        let named = DatasetTarget::Classes { classes: 2, class_names: vec!["cat".into(), "dog".into()] };
        let cases = [
            (DatasetTarget::classes(2), serde_json::json!({ "classes": 2 })),
            (named, serde_json::json!({ "classes": 2, "class_names": ["cat", "dog"] })),
            (DatasetTarget::REAL, serde_json::json!({ "target": "real" })),
        ];
        for (target, expected) in cases {
            let info = info(target);
            let json = serde_json::to_value(&info).unwrap();
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(json[key], *value, "{json}");
            }
            assert_eq!(json["range"], serde_json::json!([-1.25, 0.5]));
            assert_eq!(serde_json::from_value::<DatasetInfo>(json).unwrap(), info);
        }
    }

    #[test]
    fn each_part_of_a_dataset_changes_its_identity() {
        let split = |features: SplitFeatures, targets, clients| Split { shape: vec![1], features, targets, clients };
        let plain = || split(SplitFeatures::F32(vec![1.0, 2.0]), SplitTargets::Classes(vec![0, 1]), None);
        let of = |train: Split, names: &[&str]| {
            let class_names = names.iter().map(|name| (*name).to_owned()).collect();
            let test = plain();
            ReadSplits { train, test, class_names, sha256: None, test_files: Default::default() }.identity()
        };
        let clients = Some(NaturalClients { names: vec!["a".into()], of_row: vec![0, 0] });
        let identities = BTreeSet::from([
            of(plain(), &[]),
            of(plain(), &["x", "y"]),
            of(Split { features: SplitFeatures::F32(vec![1.0, 2.5]), ..plain() }, &[]),
            of(Split { features: SplitFeatures::U8(vec![1, 2]), ..plain() }, &[]),
            of(Split { targets: SplitTargets::Classes(vec![1, 1]), ..plain() }, &[]),
            of(Split { targets: SplitTargets::Real(vec![0.0, 1.0]), ..plain() }, &[]),
            of(Split { shape: vec![1, 1], ..plain() }, &[]),
            of(Split { clients, ..plain() }, &[]),
        ]);
        assert_eq!(identities.len(), 8);
        assert_eq!(of(plain(), &[]), of(plain(), &[]));
    }
}
