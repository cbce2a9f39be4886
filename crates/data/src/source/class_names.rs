//! The classes of labels, with their names.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use super::array::{MOST_CLASSES, targets};
use super::reading::TargetKind;
use crate::error::DataError;
use crate::split::SplitTargets;

/// The names of the classes, in the order of their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClassNames {
    /// The labels are whole numbers from 0, without names.
    #[default]
    None,
    /// The labels are whole numbers from 0, and the files name each class.
    Declared(Vec<String>),
    /// The labels are the names, sorted.
    Mapped(Vec<String>),
}

impl ClassNames {
    /// Returns the names of training labels. Labels that are all whole numbers from 0 have no names. A negative one,
    /// such as that of −1 and 1, makes them names.
    ///
    /// # Errors
    /// The labels have too many names.
    pub(crate) fn of(labels: &[String], path: &Path) -> Result<Self, DataError> {
        let numbers: Option<Vec<f64>> = labels.iter().map(|label| number(label)).collect();
        let is_named = numbers.is_none_or(|numbers| {
            numbers.iter().all(|number| number.fract() == 0.0) && numbers.iter().any(|number| *number < 0.0)
        });
        if !is_named {
            // A fraction is refused when the labels are mapped.
            return Ok(Self::None);
        }
        let mut names = labels.to_vec();
        if names.iter().all(|name| number(name).is_some()) {
            names.iter_mut().for_each(|name| *name = plain(name));
        }
        sort_names(&mut names);
        names.dedup();
        if names.len() > MOST_CLASSES as usize {
            return Err(DataError::TooManyClasses { path: path.to_owned(), classes: names.len() });
        }
        Ok(Self::Mapped(names))
    }

    /// Returns the targets of texts.
    ///
    /// # Errors
    /// A text is no number where numbers are wanted, or of no class of the training set.
    pub(crate) fn targets(&self, texts: &[String], kind: TargetKind, path: &Path) -> Result<SplitTargets, DataError> {
        match (kind, self) {
            (TargetKind::Classes, Self::Mapped(names)) => Self::mapped(names, texts, path),
            (TargetKind::Classes, Self::Declared(names)) => {
                let targets = Self::numbers(texts, kind, path)?;
                let SplitTargets::Classes(labels) = &targets else { return Ok(targets) };
                let classes = names.len() as u32;
                match labels.iter().position(|&label| label >= classes) {
                    Some(row) => Err(DataError::Label { path: path.to_owned(), row, label: labels[row], classes }),
                    None => Ok(targets),
                }
            }
            _ => Self::numbers(texts, kind, path),
        }
    }

    fn numbers(texts: &[String], kind: TargetKind, path: &Path) -> Result<SplitTargets, DataError> {
        let refused = |row, text: &String| {
            let (path, text) = (path.to_owned(), text.clone());
            match kind {
                TargetKind::Classes => DataError::UnknownClass { path, row, text },
                TargetKind::Real => DataError::NoNumber { path, row, text },
            }
        };
        let numbers = texts.iter().enumerate().map(|(row, text)| number(text).ok_or_else(|| refused(row, text)));
        targets(numbers.collect::<Result<_, _>>()?, kind, path)
    }

    fn mapped(names: &[String], texts: &[String], path: &Path) -> Result<SplitTargets, DataError> {
        let labels: BTreeMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
        let label = |(row, text): (usize, &String)| {
            let unknown = || DataError::UnknownClass { path: path.to_owned(), row, text: text.clone() };
            // The same number has several texts, such as -1 and -1.0.
            labels.get(text.as_str()).or_else(|| labels.get(plain(text).as_str())).copied().ok_or_else(unknown)
        };
        texts.iter().enumerate().map(label).collect::<Result<_, _>>().map(SplitTargets::Classes)
    }

    /// Returns the first name if the labels are names, which one client alone cannot number.
    pub(crate) fn first_mapped(&self) -> Option<&String> {
        if let Self::Mapped(names) = self { names.first() } else { None }
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Declared(names) | Self::Mapped(names) => names,
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Returns the shortest text of a number, and any other text unchanged.
fn plain(text: &str) -> String {
    number(text).map_or_else(|| text.to_owned(), |number| number.to_string())
}

/// Sorts names as numbers if all of them are numbers, and otherwise as texts.
pub(crate) fn sort_names(names: &mut [String]) {
    if names.iter().all(|name| number(name).is_some()) {
        names.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(Ordering::Equal).then(a.cmp(b)));
    } else {
        names.sort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(train: &[&str], texts: &[&str]) -> Result<Vec<u32>, DataError> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let names = ClassNames::of(&owned(train), Path::new("t.csv"))?;
        match names.targets(&owned(texts), TargetKind::Classes, Path::new("t.csv"))? {
            SplitTargets::Classes(labels) => Ok(labels),
            SplitTargets::Real(_) => panic!("the labels are real numbers"),
        }
    }

    #[test]
    fn one_number_is_one_class_in_any_spelling() {
        assert_eq!(labels(&["0", "1.0", "2e0"], &["1", "2.0"]).unwrap(), [1, 2]);
        assert_eq!(labels(&["-1", "1.0", "+1", "-1.0"], &["1", "-1.0", "+1"]).unwrap(), [1, 0, 1]);
        assert_eq!(labels(&["b", "1", "1.0"], &["1.0", "1", "b"]).unwrap(), [1, 0, 2]);
    }

    #[test]
    fn a_label_of_no_class_is_refused_with_its_row() {
        for train in [&["0", "1"][..], &["-1", "1"], &["a", "b"]] {
            let error = labels(train, &[train[0], "cow"]).unwrap_err();
            crate::testing::assert_says(&error, &["the class \"cow\" at row 2 below the names", "no training example"]);
        }
        let declared = ClassNames::Declared(vec!["cat".into(), "dog".into()]);
        let targets = |text: &str| declared.targets(&[text.to_owned()], TargetKind::Classes, Path::new("t.parquet"));
        assert_eq!(targets("1").unwrap(), SplitTargets::Classes(vec![1]));
        crate::testing::assert_says(
            &targets("2").unwrap_err(),
            &["the label 2 at row 1 below the names", "the classes are 0 to 1"],
        );
    }
}
