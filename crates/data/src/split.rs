//! One split of a dataset in memory: features, targets and natural clients.

use std::collections::{BTreeMap, BTreeSet};

use crate::checksum;
use crate::dataset::FeatureType;

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

impl NaturalClients {
    /// Returns the clients of some of the rows, numbered without gaps.
    fn select(&self, rows: &[u32]) -> Self {
        let of_row = select(&self.of_row, 1, rows);
        let present: BTreeSet<u32> = of_row.iter().copied().collect();
        let number: BTreeMap<u32, u32> = present.iter().copied().zip(0..).collect();
        let names = present.iter().map(|&client| self.names[client as usize].clone()).collect();
        Self { names, of_row: of_row.iter().map(|client| number[client]).collect() }
    }
}

impl NaturalClients {
    /// Returns the clients of these rows and of the `next` ones; a client of both has one number.
    fn joined_by(self, next: Self) -> Self {
        let Self { mut names, mut of_row } = self;
        let mut known: BTreeMap<String, u32> = names.iter().cloned().zip(0..).collect();
        let number = |name: &String| {
            *known.entry(name.clone()).or_insert_with(|| {
                names.push(name.clone());
                names.len() as u32 - 1
            })
        };
        let numbers: Vec<u32> = next.names.iter().map(number).collect();
        of_row.extend(next.of_row.iter().map(|&client| numbers[client as usize]));
        Self { names, of_row }
    }
}

impl Split {
    /// Returns the examples of both splits, with their natural clients if both have them.
    pub(crate) fn joined_by(mut self, mut next: Self) -> Self {
        let clients = match (self.clients.take(), next.clients.take()) {
            (Some(clients), Some(of_next)) => Some(clients.joined_by(of_next)),
            (Some(clients), None) if next.len() == 0 => Some(clients),
            _ => None,
        };
        Self { clients, ..self.followed_by(next) }
    }

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

    /// Returns some of the rows.
    pub(crate) fn select(&self, rows: &[u32]) -> Self {
        let size = self.shape.iter().product();
        let features = match &self.features {
            SplitFeatures::U8(bytes) => SplitFeatures::U8(select(bytes, size, rows)),
            SplitFeatures::F32(values) => SplitFeatures::F32(select(values, size, rows)),
        };
        let targets = match &self.targets {
            SplitTargets::Classes(labels) => SplitTargets::Classes(select(labels, 1, rows)),
            SplitTargets::Real(values) => SplitTargets::Real(select(values, 1, rows)),
        };
        let clients = self.clients.as_ref().map(|clients| clients.select(rows));
        Self { shape: self.shape.clone(), features, targets, clients }
    }

    /// Returns the examples of both splits, whose shapes and kinds are equal.
    pub(crate) fn followed_by(mut self, next: Self) -> Self {
        match (&mut self.features, next.features) {
            (SplitFeatures::U8(all), SplitFeatures::U8(next)) => all.extend(next),
            (SplitFeatures::F32(all), SplitFeatures::F32(next)) => all.extend(next),
            (SplitFeatures::U8(_), _) | (SplitFeatures::F32(_), _) => {}
        }
        match (&mut self.targets, next.targets) {
            (SplitTargets::Classes(all), SplitTargets::Classes(next)) => all.extend(next),
            (SplitTargets::Real(all), SplitTargets::Real(next)) => all.extend(next),
            (SplitTargets::Classes(_), _) | (SplitTargets::Real(_), _) => {}
        }
        self
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
    pub(crate) fn range(&self) -> Option<[f32; 2]> {
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
    pub(crate) fn hashes(&self) -> [String; 3] {
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

/// Returns some rows of `size` values each.
fn select<T: Copy>(values: &[T], size: usize, rows: &[u32]) -> Vec<T> {
    rows.iter().flat_map(|&row| &values[row as usize * size..][..size]).copied().collect()
}

fn values_sha256(values: impl Iterator<Item = [u8; 4]>) -> String {
    checksum::pieces_sha256([values.flatten().collect::<Vec<u8>>().as_slice()])
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
