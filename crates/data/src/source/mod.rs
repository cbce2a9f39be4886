//! The sources of a dataset. A reader is one file and one row of the table [`READERS`].
//!
//! [`FoundSource::find`] asks the rows in turn which of them recognises a path. [`FoundSource::load`] reads the files.

mod array;
mod class_names;
mod columns;
mod csv_table;
mod fcube;
mod fitted;
mod generator;
pub(crate) mod idx;
mod idx_format;
mod images;
mod input;
mod npy;
mod numpy;
mod parquet_table;
mod partitions;
mod reading;
pub(crate) mod sample;
mod splits;
mod synthetic;
mod test_split;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use fedpipe_spec::table::Named;
use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::cache::{key, read_json, write_json};
use crate::checksum::{self, Stamp};
use crate::dataset::{Dataset, Portion, ReadSplits};
use crate::{cache::Cache, data_step::DataStep, deal::FORMAT, error::DataError, fetch};
use generator::is_generator;

pub use fitted::{write_inputs, write_scored};
pub use generator::{Entry, Generated, Generator, generators};
pub use reading::{ImageSize, Reading, TargetKind};
pub use test_split::{TestSplit, TestSplitRule};

/// The source of an experiment's dataset: a known name, or the path of its files.
///
/// The text is `fashion-mnist`, `sample`, a generator such as `synthetic:alpha=1,beta=1`, or a path. A path with the
/// name of another source begins with `./`.
#[derive(Clone, Debug, PartialEq, SerializeDisplay, DeserializeFromStr)]
pub enum Source {
    /// Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 training and 10,000 test images, 28×28, 10 classes.
    FashionMnist,
    /// The sample in this crate: 2,000 training and 500 test images of Fashion-MNIST, with equal numbers of each class.
    Sample,
    /// A dataset that is made from a rule.
    Generated(Named<dyn Generator>),
    /// A file or a directory that one of the readers recognises.
    Path(PathBuf),
}

impl Source {
    /// Returns the folder or the file outside the cache from which the dataset may be read, if there is one.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::FashionMnist => Some(Path::new(fetch::SYSTEM)),
            Self::Sample | Self::Generated(_) => None,
            Self::Path(path) => Some(path),
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
            text if is_generator(text) => Ok(Self::Generated(text.parse()?)),
            path => Ok(Self::Path(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FashionMnist => f.write_str("fashion-mnist"),
            Self::Sample => f.write_str("sample"),
            Self::Generated(generator) => generator.fmt(f),
            Self::Path(path) => match path.to_str() {
                Some(name) if ["fashion-mnist", "sample"].contains(&name) || is_generator(name) => {
                    write!(f, "./{name}")
                }
                _ => path.display().fmt(f),
            },
        }
    }
}

/// The dataset that is asked of a reader.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest<'a> {
    /// The path, without links.
    pub(crate) place: PathBuf,
    pub(crate) portion: Portion,
    pub(crate) reading: &'a Reading,
}

/// A row of the table of readers.
pub struct Reader {
    /// The name in `fedpipe data list`.
    pub name: &'static str,
    /// The files that the reader takes, in words.
    pub files: &'static str,
    /// The flags that have an effect on the reader.
    pub takes: &'static [&'static str],
    /// Returns the files of the dataset at a path; `None` if they are of another reader.
    find: fn(&ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError>,
    /// Reads the files that `find` returned.
    read: fn(&ReadRequest<'_>, &[PathBuf]) -> Result<ReadSplits, DataError>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Returns the readers, in the order in which they are asked.
pub fn readers() -> &'static [Reader] {
    &READERS
}

/// Returns `true` for a name under which a reader looks for a file of a dataset in a directory.
pub fn is_dataset_file(name: &OsStr) -> bool {
    idx::is_idx(name) || numpy::is_array(Path::new(name))
}

static READERS: [Reader; 6] =
    [idx::READER, numpy::READER, csv_table::READER, parquet_table::READER, partitions::READER, images::READER];

/// The source of a deal after it is found and before it is read.
pub(crate) enum FoundSource<'a> {
    FashionMnist,
    Sample,
    Generated(Named<dyn Generator>),
    Files(FoundFiles<'a>),
}

impl<'a> FoundSource<'a> {
    /// Finds the files of a source.
    ///
    /// # Errors
    /// There is no such path, no reader recognises it, or a file of its reader is missing.
    pub(crate) fn find(source: &Source, reading: &'a Reading, portion: Portion) -> Result<Self, DataError> {
        match source {
            Source::FashionMnist => check_known(fetch::NAME, reading).map(|()| Self::FashionMnist),
            Source::Sample => check_known(sample::NAME, reading).map(|()| Self::Sample),
            Source::Generated(generator) => {
                check_known("a generator", reading).map(|()| Self::Generated(generator.clone()))
            }
            Source::Path(path) => FoundFiles::find(path, reading, portion).map(Self::Files),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::FashionMnist => fetch::NAME,
            Self::Sample => sample::NAME,
            Self::Generated(generator) => generator.name(),
            Self::Files(files) => &files.name,
        }
    }

    /// Returns the dataset's identity, if it is known without reading the dataset.
    pub(crate) fn cached_identity(&self, cache: &Cache) -> Option<String> {
        if !cache.is_trusted() {
            return None;
        }
        match self {
            Self::FashionMnist => Some(fetch::SHA256.to_owned()),
            Self::Sample => Some(sample::SHA256.to_owned()),
            // The identity is that of the content, which is made in a moment.
            Self::Generated(_) => None,
            Self::Files(files) => files.cached_identity(cache),
        }
    }

    pub(crate) fn load(&self, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<Dataset, DataError> {
        match self {
            Self::FashionMnist => {
                let dir = fetch::fetch_fashion_mnist(cache, progress)?;
                idx::load_published(fetch::NAME, &dir, fetch::SHA256)
            }
            Self::Sample => sample::load(),
            Self::Generated(generator) => Dataset::new(generator.name(), generator.generate().0, Portion::Whole),
            Self::Files(files) => files.load(cache, progress),
        }
    }
}

/// Refuses a reading that has no effect on a dataset with this name.
fn check_known(name: &'static str, reading: &Reading) -> Result<(), DataError> {
    if reading.target == TargetKind::Real {
        return Err(DataError::NoEffect { flag: "--target real", reader: name });
    }
    check_flags(name, &[], reading)
}

/// Refuses a flag that has no effect on a reader.
fn check_flags(reader: &'static str, takes: &[&str], reading: &Reading) -> Result<(), DataError> {
    match reading.given().find(|flag| !takes.contains(flag)) {
        Some(flag) => Err(DataError::NoEffect { flag, reader }),
        None => Ok(()),
    }
}

/// Files of a dataset that a reader recognised.
pub(crate) struct FoundFiles<'a> {
    /// The last name of the path.
    name: String,
    request: ReadRequest<'a>,
    reader: &'static Reader,
    paths: Vec<PathBuf>,
}

/// The cache's record of a dataset's files. The identity is valid while the files have these stamps.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FilesRecord {
    /// The SHA-256 of the paths and stamps.
    stamps_sha256: String,
    sha256: String,
}

impl<'a> FoundFiles<'a> {
    fn find(path: &Path, reading: &'a Reading, portion: Portion) -> Result<Self, DataError> {
        let place = path.canonicalize().map_err(|_| DataError::NoPath { path: path.to_owned() })?;
        let name = place.file_name().unwrap_or(place.as_os_str()).to_string_lossy().into_owned();
        let request = ReadRequest { place, portion, reading };
        for reader in readers() {
            if let Some(paths) = (reader.find)(&request)? {
                check_flags(reader.name, reader.takes, reading)?;
                return Ok(Self { name, request, reader, paths });
            }
        }
        Err(DataError::Unrecognised { path: path.to_owned() })
    }

    /// Returns the dataset's identity, if the cache has it and no stamp has changed.
    fn cached_identity(&self, cache: &Cache) -> Option<String> {
        let record: FilesRecord = read_json(&self.record_path(cache))?;
        (record.stamps_sha256 == self.stamps_sha256().ok()?).then_some(record.sha256)
    }

    /// Reads, checks and hashes the files. The cache records the identity if it is trusted and writable.
    fn load(&self, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<Dataset, DataError> {
        progress(DataStep::Hashing { place: self.request.place.clone() });
        // The stamps are taken before reading, so a file that changes in the meantime is hashed again next time.
        let stamps_sha256 = self.stamps_sha256()?;
        let splits = (self.reader.read)(&self.request, &self.paths)?;
        let dataset = Dataset::new(&self.name, splits, self.request.portion)?;
        if cache.is_trusted() {
            // An error is ignored: in a read-only cache the files are hashed again next time.
            let record = FilesRecord { stamps_sha256, sha256: dataset.info.sha256.clone() };
            let _ = write_json(&self.record_path(cache), &record);
        }
        Ok(dataset)
    }

    /// Returns the place of the record. The same files are another dataset if they are read in another way.
    fn record_path(&self, cache: &Cache) -> PathBuf {
        let ReadRequest { place, portion, reading } = &self.request;
        let text = format!("format {FORMAT}\n{}\n{portion:?}\n{reading:?}\n", place.to_string_lossy());
        cache.datasets().join("directories").join(format!("{}.json", key(&text)))
    }

    fn stamps_sha256(&self) -> Result<String, DataError> {
        let mut text = String::new();
        for path in &self.paths {
            let stamp = Stamp::of(path).map_err(|source| DataError::Read { path: path.clone(), source })?;
            text += &format!("{} {stamp:?}\n", path.display());
        }
        Ok(checksum::of_text(&text))
    }
}

#[cfg(test)]
mod tests;
