//! Reads a directory of IDX files with their MNIST names.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::cache::{key, read_json, write_json};
use crate::checksum::Stamp;
use crate::dataset::{Dataset, Input, Portion};
use crate::idx::IdxContent;
use crate::{cache::Cache, data_step::DataStep, error::DataError};

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The largest compression ratio of deflate.
const GREATEST_RATIO: u64 = 1032;

/// A dataset's directory whose files were found.
#[derive(Debug)]
pub(crate) struct Directory {
    name: String,
    place: PathBuf,
    portion: Portion,
    /// Four paths, or two for the test set only.
    paths: Vec<PathBuf>,
}

/// The cache's record of a directory. The identity is valid while the files have these stamps.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct DirectoryRecord {
    files: Vec<(PathBuf, Stamp)>,
    sha256: String,
}

impl Directory {
    /// Finds the files, plain or gzip, in either spelling (`train-images-idx3-ubyte`, `train-images.idx3-ubyte`).
    ///
    /// # Errors
    /// The directory or a file is missing. The message lists the names that were tried.
    pub(crate) fn find(dir: &Path, portion: Portion) -> Result<Self, DataError> {
        let place = match dir.canonicalize() {
            Ok(place) if place.is_dir() => place,
            _ => return Err(DataError::NoDirectory { dir: dir.to_owned() }),
        };
        let name = place.file_name().unwrap_or(place.as_os_str()).to_string_lossy().into_owned();
        let mut paths = Vec::with_capacity(4);
        if portion != Portion::Test {
            paths.push(find(&place, "training images", "train-images", IdxContent::Images)?);
            paths.push(find(&place, "training labels", "train-labels", IdxContent::Labels)?);
        }
        paths.push(find(&place, "test images", "t10k-images", IdxContent::Images)?);
        paths.push(find(&place, "test labels", "t10k-labels", IdxContent::Labels)?);
        Ok(Self { name, place, portion, paths })
    }

    /// Returns the dataset's identity, if the cache has it and no stamp has changed.
    pub(crate) fn cached_identity(&self, cache: &Cache) -> Option<String> {
        let record: DirectoryRecord = read_json(&self.record_path(cache))?;
        (record.files == self.stamps().ok()?).then_some(record.sha256)
    }

    /// Reads, checks and hashes the files. The cache records the identity if it is trusted and writable.
    pub(crate) fn load(&self, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Result<Dataset, DataError> {
        progress(DataStep::Hashing { place: self.place.clone() });
        // The stamps are taken before reading, so a file that changes in the meantime is hashed again next time.
        let files = self.stamps()?;
        let dataset = load(&self.name, &self.paths, self.portion, None)?;
        if cache.is_trusted() {
            // An error is ignored: in a read-only cache the files are hashed again next time.
            let _ =
                write_json(&self.record_path(cache), &DirectoryRecord { files, sha256: dataset.info.sha256.clone() });
        }
        Ok(dataset)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn record_path(&self, cache: &Cache) -> PathBuf {
        let name = format!("{}.json", key(&self.place.to_string_lossy()));
        cache.datasets().join("directories").join(name)
    }

    fn stamps(&self) -> Result<Vec<(PathBuf, Stamp)>, DataError> {
        let stamp = |path: &PathBuf| match Stamp::of(path) {
            Ok(stamp) => Ok((path.clone(), stamp)),
            Err(source) => Err(DataError::Read { path: path.clone(), source }),
        };
        self.paths.iter().map(stamp).collect()
    }
}

fn find(dir: &Path, what: &'static str, stem: &str, content: IdxContent) -> Result<PathBuf, DataError> {
    let names = names(stem, content);
    let endings = ENDINGS.iter().flat_map(|ending| names.iter().map(move |name| dir.join(format!("{name}{ending}"))));
    let found = endings.into_iter().find(|path| path.exists());
    found.ok_or_else(|| DataError::MissingFile { dir: dir.to_owned(), what, looked_for: names.clone() })
}

/// The endings of plain and gzip files.
const ENDINGS: [&str; 2] = ["", ".gz"];

/// The start of the name of each file, and the file's content.
const STEMS: [(&str, IdxContent); 4] = [
    ("train-images", IdxContent::Images),
    ("train-labels", IdxContent::Labels),
    ("t10k-images", IdxContent::Images),
    ("t10k-labels", IdxContent::Labels),
];

fn names(stem: &str, content: IdxContent) -> Vec<String> {
    let sizes: &[u32] = match content {
        IdxContent::Images => &[3, 4],
        IdxContent::Labels => &[1],
    };
    sizes.iter().flat_map(|size| ["-", "."].map(|dash| format!("{stem}{dash}idx{size}-ubyte"))).collect()
}

/// Returns `true` for a name under which this crate looks for a file of a dataset, in either spelling, plain or gzip.
pub fn is_dataset_file(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let plain = name.strip_suffix(ENDINGS[1]).unwrap_or(name);
    STEMS
        .iter()
        .any(|&(stem, content)| plain.starts_with(stem) && names(stem, content).iter().any(|known| known == plain))
}

/// Reads the files at `paths`. Their identity must equal `published` if that is given.
pub(crate) fn load(
    name: &str,
    paths: &[PathBuf],
    portion: Portion,
    published: Option<&str>,
) -> Result<Dataset, DataError> {
    Dataset::read(name, paths, portion, published, &|i| open(&paths[i]))
}

fn open(path: &Path) -> Result<Input, DataError> {
    let unreadable = |source| DataError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for a writer, and a device has no end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let is_gzip = start.starts_with(&GZIP);
    // A plain file may have kept the name of the file that it was decompressed from.
    let is_plain = start.starts_with(&[0, 0]);
    if !is_gzip && !is_plain && path.extension().is_some_and(|ending| ending == "gz") {
        return Err(DataError::NotGzip { path: path.to_owned(), start });
    }
    if is_gzip {
        let reader = Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)));
        Ok(Input { reader, room: bytes.saturating_mul(GREATEST_RATIO) })
    } else {
        Ok(Input { reader: Box::new(file), room: bytes })
    }
}

#[cfg(test)]
mod tests;
