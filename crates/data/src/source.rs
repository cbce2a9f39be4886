//! The source of a dataset.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::{error::DataError, fetch};

/// The source of an experiment's dataset: a known name, or a directory of IDX files.
///
/// The text is `fashion-mnist`, `sample` or the path of a directory. The path of a directory with a known name begins
/// with `./`.
#[derive(Clone, Debug, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
pub enum Source {
    /// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 training and 10,000 test images, 28×28, 10 classes.
    FashionMnist,
    /// The sample in this crate: 2,000 training and 500 test images of Fashion-MNIST, with equal numbers of each class.
    Sample,
    /// A directory with the four IDX files of MNIST by name, plain or gzip.
    Directory(PathBuf),
}

impl Source {
    /// Returns the folder outside the cache from which the dataset may be read, if there is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::FashionMnist => Some(Path::new(fetch::SYSTEM)),
            Self::Sample => None,
            Self::Directory(path) => Some(path),
        }
    }
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "" => Err(DataError::NoSource),
            "fashion-mnist" => Ok(Self::FashionMnist),
            "sample" => Ok(Self::Sample),
            path => Ok(Self::Directory(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FashionMnist => f.write_str("fashion-mnist"),
            Self::Sample => f.write_str("sample"),
            Self::Directory(path) => match path.to_str() {
                Some(name @ ("fashion-mnist" | "sample")) => write!(f, "./{name}"),
                _ => path.display().fmt(f),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for text in ["fashion-mnist", "sample", "some/dir", "./sample", "/x"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!(Source::Directory("sample".into()).to_string(), "./sample");
        assert!("".parse::<Source>().unwrap_err().to_string().contains("fashion-mnist"));
    }

    #[test]
    fn a_source_has_a_folder_or_none() {
        let folder = |text: &str| text.parse::<Source>().unwrap().folder().map(Path::to_owned);
        assert_eq!(folder("some/dir"), Some("some/dir".into()));
        assert_eq!(folder("fashion-mnist"), Some("/usr/share/datasets/fashion-mnist".into()));
        assert_eq!(folder("sample"), None);
    }
}
