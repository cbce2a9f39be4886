//! The splits that a reader found, made into a training and a test set as the portion and the flags say.

use std::path::PathBuf;

use super::ReadRequest;
use super::class_names::ClassNames;
use crate::dataset::{Portion, ReadSplits, examples_sha256};
use crate::error::DataError;
use crate::split::Split;

/// The examples that a reader found.
pub(super) struct FoundSplits {
    /// The training set, or all examples if there is no test set. Under `own` the host's reader may have none.
    pub(super) first: Option<Split>,
    /// The test set, if the files have one.
    pub(super) test: Option<Split>,
    pub(super) class_names: ClassNames,
    /// The names of the features; empty if the files have none.
    pub(super) feature_names: Vec<String>,
    /// The files of the test examples and of their targets, for messages.
    pub(super) test_files: [PathBuf; 2],
}

impl FoundSplits {
    /// Returns both splits.
    ///
    /// # Errors
    /// There is no test set and none is drawn, or there are two. Under `own` none is drawn, since the host and the
    /// clients have one test set.
    pub(super) fn finish(self, request: &ReadRequest<'_>) -> Result<ReadSplits, DataError> {
        let place = || request.place.clone();
        let Self { first, test, class_names, feature_names, test_files } = self;
        let mut drawn_from = None;
        let (train, test) = match (first, test, &request.reading.test_split) {
            (_, _, Some(_)) if request.portion != Portion::Whole => return Err(DataError::SplitUnderOwn),
            (_, Some(_), Some(_)) => return Err(DataError::TwoTestSets { path: place() }),
            (Some(whole), None, Some(draw)) => {
                drawn_from = Some(examples_sha256(&whole));
                let [train, test] = draw.rows(&whole).map(|rows| whole.select(&rows));
                if train.len() == 0 || test.len() == 0 {
                    return Err(DataError::EmptySplit { path: place(), train: train.len(), test: test.len() });
                }
                (train, test)
            }
            (Some(train), Some(test), None) => (train, test),
            // The deal merges a test set that there is.
            (Some(whole), None, None) if request.reading.merges_test => {
                let none = Split::empty_like(&whole);
                (whole, none)
            }
            // Under `own` the host's one file is the test set. All examples are scored where none is for training.
            (None, Some(test), None) | (Some(test), None, None) if request.portion.needs_no_training_set() => {
                (Split::empty_like(&test), test)
            }
            _ => return Err(DataError::NoTestSet { path: place() }),
        };
        let has_own_names = matches!(request.portion, Portion::Own | Portion::Test);
        if let Some(name) = class_names.first_mapped().filter(|_| has_own_names) {
            return Err(DataError::NamesUnderOwn { path: place(), name: name.clone() });
        }
        let class_names = class_names.into_names();
        Ok(ReadSplits { train, test, class_names, feature_names, sha256: None, drawn_from, test_files })
    }
}
