//! The classes of labels that are texts.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use super::array::{MOST_CLASSES, targets};
use super::reading::TargetKind;
use crate::error::DataError;
use crate::split::SplitTargets;

/// The names of the classes, in the order of their labels. Texts that are all whole numbers from 0 are the labels
/// themselves, and have no names. A negative one, such as that of −1 and 1, makes them names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassNames(Vec<String>);

impl ClassNames {
    /// Returns the sorted names of training labels.
    ///
    /// # Errors
    /// The labels are numbers with a fraction, or have too many names.
    pub(crate) fn of(labels: &[String], path: &Path) -> Result<Self, DataError> {
        let numbers: Option<Vec<f64>> = labels.iter().map(|label| number(label)).collect();
        let is_named = numbers.is_none_or(|numbers| {
            numbers.iter().all(|number| number.fract() == 0.0) && numbers.iter().any(|number| *number < 0.0)
        });
        if !is_named {
            // A fraction is refused when the labels are mapped.
            return Ok(Self::default());
        }
        let mut names = labels.to_vec();
        sort_names(&mut names);
        names.dedup();
        if names.len() > MOST_CLASSES as usize {
            return Err(DataError::TooManyClasses { path: path.to_owned(), classes: names.len() });
        }
        Ok(Self(names))
    }

    /// Returns the targets of texts.
    ///
    /// # Errors
    /// A text is no number where numbers are wanted, or of no class of the training set.
    pub(crate) fn targets(&self, texts: &[String], kind: TargetKind, path: &Path) -> Result<SplitTargets, DataError> {
        let is_named = kind == TargetKind::Classes && !self.0.is_empty();
        if !is_named {
            let numbers = texts.iter().enumerate().map(|(row, text)| {
                number(text).ok_or_else(|| DataError::NoNumber { path: path.to_owned(), row, text: text.clone() })
            });
            return targets(numbers.collect::<Result<_, _>>()?, kind, path);
        }
        let labels: BTreeMap<&String, u32> = self.0.iter().zip(0..).collect();
        let label = |(row, text): (usize, &String)| {
            let unknown = || DataError::UnknownClass { path: path.to_owned(), row, text: text.clone() };
            labels.get(text).copied().ok_or_else(unknown)
        };
        texts.iter().enumerate().map(label).collect::<Result<_, _>>().map(SplitTargets::Classes)
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.0
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Sorts names as numbers if all of them are numbers, and otherwise as texts.
pub(crate) fn sort_names(names: &mut [String]) {
    if names.iter().all(|name| number(name).is_some()) {
        names.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal).then(a.cmp(b)));
    } else {
        names.sort();
    }
}
