//! Arrays as files have them, and their way into a split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::class_names::sort_names;
use super::reading::TargetKind;
use crate::error::DataError;
use crate::split::{NaturalClients, Split, SplitFeatures, SplitTargets};

/// The most classes of a dataset. A label beyond them is taken for a mistake, since each label up to it is a class.
pub(crate) const MOST_CLASSES: u32 = 1 << 16;

/// An array in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RawArray {
    /// The file, for messages.
    pub(crate) path: PathBuf,
    /// The sizes; the first is the number of examples.
    pub(crate) sizes: Vec<usize>,
    /// The values, row-major; their number is the product of the sizes.
    pub(crate) values: RawValues,
}

/// The values of an array. A narrower type is converted to one that has all its values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawValues {
    U8(Vec<u8>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl RawValues {
    /// Returns the values as f64, which has all of them.
    pub(crate) fn numbers(self) -> Vec<f64> {
        match self {
            Self::U8(bytes) => bytes.into_iter().map(f64::from).collect(),
            Self::F32(values) => values.into_iter().map(f64::from).collect(),
            Self::F64(values) => values,
        }
    }
}

/// Combines examples and targets to a split.
///
/// # Errors
/// Their numbers differ, a feature is not finite, or a target is not of the kind.
pub(crate) fn join(examples: RawArray, targets: RawArray, kind: TargetKind) -> Result<Split, DataError> {
    let counts = [&examples, &targets].map(|array| array.sizes.first().copied().unwrap_or_default());
    if counts[0] != counts[1] {
        return Err(DataError::Counts {
            example_path: examples.path,
            examples: counts[0],
            target_path: targets.path,
            targets: counts[1],
        });
    }
    let targets = self::targets(targets.values.numbers(), kind, &targets.path)?;
    let (shape, features) = finite_features(examples)?;
    Ok(Split { shape, features, targets, clients: None })
}

/// Returns the shape of an example, and the features. A row without sizes of its own has one feature.
///
/// # Errors
/// A feature is not finite as f32.
pub(crate) fn finite_features(examples: RawArray) -> Result<(Vec<usize>, SplitFeatures), DataError> {
    let shape = match &examples.sizes[1..] {
        [] => vec![1],
        sizes => sizes.to_vec(),
    };
    let columns = shape.iter().product();
    let features = match examples.values {
        RawValues::U8(bytes) => SplitFeatures::U8(bytes),
        RawValues::F32(values) => finite(values, columns, &examples.path)?,
        RawValues::F64(values) => {
            finite(values.into_iter().map(|value| value as f32).collect(), columns, &examples.path)?
        }
    };
    Ok((shape, features))
}

/// Returns features, of which none may be infinite or NaN.
pub(crate) fn finite(values: Vec<f32>, columns: usize, path: &Path) -> Result<SplitFeatures, DataError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(SplitFeatures::F32(values)),
        Some(at) => Err(DataError::NotFinite {
            path: path.to_owned(),
            row: at / columns,
            column: at % columns,
            value: values[at],
        }),
    }
}

/// Returns the targets of a kind.
///
/// # Errors
/// A label is no whole number from 0, or is beyond [`MOST_CLASSES`]; a real target is not finite.
pub(crate) fn targets(values: Vec<f64>, kind: TargetKind, path: &Path) -> Result<SplitTargets, DataError> {
    let is_label = |value: &f64| value.fract() == 0.0 && (0.0..f64::from(MOST_CLASSES)).contains(value);
    let fits = |value: &f64| match kind {
        TargetKind::Classes => is_label(value),
        TargetKind::Real => (*value as f32).is_finite(),
    };
    match (values.iter().position(|value| !fits(value)), kind) {
        (None, TargetKind::Classes) => Ok(SplitTargets::Classes(values.iter().map(|&value| value as u32).collect())),
        (None, TargetKind::Real) => Ok(SplitTargets::Real(values.iter().map(|&value| value as f32).collect())),
        (Some(row), TargetKind::Classes) => {
            Err(DataError::NotALabel { path: path.to_owned(), row, value: values[row] })
        }
        (Some(row), TargetKind::Real) => Err(DataError::NotATarget { path: path.to_owned(), row, value: values[row] }),
    }
}

/// Numbers the clients by the order of their names; names that are all numbers are ordered as such.
pub(crate) fn natural_clients(of_row: Vec<String>) -> NaturalClients {
    let mut names = of_row.clone();
    sort_names(&mut names);
    names.dedup();
    let number: BTreeMap<&String, u32> = names.iter().zip(0..).collect();
    let of_row = of_row.iter().map(|name| number[name]).collect();
    NaturalClients { names, of_row }
}
