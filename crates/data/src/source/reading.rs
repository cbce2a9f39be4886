//! The choices that files leave open when they are read.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::test_split::TestSplit;
use crate::dataset::{Dataset, DatasetInfo, FeatureType};
use crate::error::DataError;
use crate::standardisation::Standardisation;

/// The choices that files leave open when they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The kind of the targets.
    pub target: TargetKind,
    /// The column of a table that has the targets.
    pub label: Option<String>,
    /// The column of a table that names the client of each row.
    pub client_column: Option<String>,
    /// The file with the test set, if it is another one.
    pub test_data: Option<PathBuf>,
    /// The part of the examples that becomes the test set.
    pub test_split: Option<TestSplit>,
    /// `true` if the test examples join the training examples, so that there is no test set.
    pub merges_test: bool,
    /// The size to which images are scaled.
    pub image_size: Option<ImageSize>,
    /// `true` if features are standardised by the statistics of the training examples.
    pub standardise: bool,
}

impl Reading {
    /// Refuses to standardise the rows of clients elsewhere (`is_own`), whose statistics differ.
    pub(crate) fn check_own(&self, is_own: bool) -> Result<(), DataError> {
        if self.standardise && is_own { Err(DataError::StandardiseUnderOwn) } else { Ok(()) }
    }

    /// Returns the dataset with features that are standardised by these training rows, if that is asked for.
    pub(crate) fn standardised(&self, dataset: Dataset, rows: &[u32]) -> Dataset {
        if !self.standardise {
            return dataset;
        }
        let Dataset { info, feature_names, train, test } = dataset;
        let by = Standardisation::of(&train, rows);
        let (train, test) = (by.apply(&train), by.apply(&test));
        let info = DatasetInfo { features: FeatureType::F32, standardisation: Some(by), ..info };
        Dataset { info, feature_names, train, test }
    }

    /// Returns the flags that were given, as a row of the table of readers names them.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            ("--label", self.label.is_some()),
            ("--client-column", self.client_column.is_some()),
            ("--test-data", self.test_data.is_some()),
            ("--test-split", self.test_split.is_some()),
            ("--image-size", self.image_size.is_some()),
        ];
        flags.into_iter().filter_map(|(flag, is_given)| is_given.then_some(flag))
    }
}

/// The kind of the targets: labels, or real numbers for a regression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// Labels from 0, of which the model predicts one.
    #[default]
    Classes,
    /// Real numbers, which the model estimates.
    Real,
}

/// The size of images as `HEIGHTxWIDTH`, or as `HEIGHTxWIDTHx1` for grey ones and `HEIGHTxWIDTHx3` for colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
pub struct ImageSize {
    /// The height in pixels.
    pub height: u32,
    /// The width in pixels.
    pub width: u32,
    /// 1 for grey images, 3 for colour; `None` for what all files have.
    pub channels: Option<u8>,
}

/// The greatest height and width of an image.
const MOST_PIXELS: u32 = 4096;

impl FromStr for ImageSize {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let refused = || DataError::ImageSize { text: text.to_owned() };
        let numbers: Option<Vec<u32>> = text.split('x').map(|part| part.parse().ok()).collect();
        let (height, width, channels) = match numbers.as_deref() {
            Some(&[height, width]) => (height, width, None),
            Some(&[height, width, channels @ (1 | 3)]) => (height, width, Some(channels as u8)),
            _ => return Err(refused()),
        };
        let fits = |size| (1..=MOST_PIXELS).contains(&size);
        if fits(height) && fits(width) { Ok(Self { height, width, channels }) } else { Err(refused()) }
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { height, width, channels } = self;
        write!(f, "{height}x{width}")?;
        channels.map_or(Ok(()), |channels| write!(f, "x{channels}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_it_is_written() {
        for text in ["28x28", "32x16x3", "1x4096x1"] {
            assert_eq!(text.parse::<ImageSize>().unwrap().to_string(), text);
        }
        for text in ["", "28", "0x28", "28x4097", "28x28x2", "28x28x3x1", "axb"] {
            let error = text.parse::<ImageSize>().unwrap_err().to_string();
            assert!(error.contains("such as 28x28"), "{error}");
        }
    }
}
