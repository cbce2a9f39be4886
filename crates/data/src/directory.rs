//! A directory of IDX files by their MNIST names.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use crate::cache::{key, read_json, write_json};
use crate::checksum::Stamp;
use crate::dataset::{Dataset, Input, Wanted};
use crate::idx::Kind;
use crate::{Cache, DataError, Progress};

/// The first bytes of a gzip file, whatever its name.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Deflate cannot do better, so a gzip file that promises more is wrong.
const GREATEST_RATIO: u64 = 1032;

/// A directory whose files were found.
#[derive(Debug)]
pub(crate) struct Directory {
    name: String,
    place: PathBuf,
    wanted: Wanted,
    /// Four, or of the test set two.
    paths: Vec<PathBuf>,
}

/// The cache's record of a directory: as long as its files have these stamps, it has this identity.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Memory {
    files: Vec<(PathBuf, Stamp)>,
    sha256: String,
}

impl Directory {
    /// Finds the files, plain or gzip, in either spelling (`train-images-idx3-ubyte`, `train-images.idx3-ubyte`).
    ///
    /// # Errors
    /// Where the directory or one of the files is missing; the message lists the names that were looked for.
    pub(crate) fn find(dir: &Path, wanted: Wanted) -> Result<Self, DataError> {
        let place = match dir.canonicalize() {
            Ok(place) if place.is_dir() => place,
            _ => return Err(DataError::NoDirectory { dir: dir.to_owned() }),
        };
        let name = place.file_name().unwrap_or(place.as_os_str()).to_string_lossy().into_owned();
        let mut paths = Vec::with_capacity(4);
        if wanted != Wanted::Test {
            paths.push(find(&place, "training images", "train-images", Kind::Images)?);
            paths.push(find(&place, "training labels", "train-labels", Kind::Labels)?);
        }
        paths.push(find(&place, "test images", "t10k-images", Kind::Images)?);
        paths.push(find(&place, "test labels", "t10k-labels", Kind::Labels)?);
        Ok(Self { name, place, wanted, paths })
    }

    /// The dataset's identity, if it was hashed before and no file has changed since.
    pub(crate) fn remembered(&self, cache: &Cache) -> Option<String> {
        let memory: Memory = read_json(&self.memory(cache))?;
        (memory.files == self.stamps().ok()?).then_some(memory.sha256)
    }

    /// Reads, checks and hashes the files; a cache that is trusted, and can be written, remembers the hash.
    pub(crate) fn load(&self, cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Result<Dataset, DataError> {
        progress(Progress::Hashing { place: self.place.clone() });
        // Before reading, so that a file that changes meanwhile is hashed again next time.
        let files = self.stamps()?;
        let dataset = load(&self.name, &self.paths, self.wanted, None)?;
        if cache.is_trusted() {
            // A cache that is read-only is no failure: the files are hashed again next time.
            let _ = write_json(&self.memory(cache), &Memory { files, sha256: dataset.info.sha256.clone() });
        }
        Ok(dataset)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn memory(&self, cache: &Cache) -> PathBuf {
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

fn find(dir: &Path, what: &'static str, stem: &str, kind: Kind) -> Result<PathBuf, DataError> {
    let names = names(stem, kind);
    let endings = ENDINGS.iter().flat_map(|ending| names.iter().map(move |name| dir.join(format!("{name}{ending}"))));
    let found = endings.into_iter().find(|path| path.exists());
    found.ok_or_else(|| DataError::MissingFile { dir: dir.to_owned(), what, looked_for: names.clone() })
}

/// Plain and gzip.
const ENDINGS: [&str; 2] = ["", ".gz"];

/// The stems of the four files.
const STEMS: [(&str, Kind); 4] = [
    ("train-images", Kind::Images),
    ("train-labels", Kind::Labels),
    ("t10k-images", Kind::Images),
    ("t10k-labels", Kind::Labels),
];

fn names(stem: &str, kind: Kind) -> Vec<String> {
    let sizes: &[u32] = match kind {
        Kind::Images => &[3, 4],
        Kind::Labels => &[1],
    };
    sizes.iter().flat_map(|size| ["-", "."].map(|dash| format!("{stem}{dash}idx{size}-ubyte"))).collect()
}

/// Returns `true` for the name of a file that this crate reads as part of a dataset, in each spelling, plain or gzip.
pub fn is_dataset_file(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let plain = name.strip_suffix(ENDINGS[1]).unwrap_or(name);
    STEMS.iter().any(|&(stem, kind)| plain.starts_with(stem) && names(stem, kind).iter().any(|known| known == plain))
}

/// Reads the files at `paths`, whose identity must be the `published` one of a dataset that has one.
pub(crate) fn load(
    name: &str,
    paths: &[PathBuf],
    wanted: Wanted,
    published: Option<&str>,
) -> Result<Dataset, DataError> {
    Dataset::read(name, paths, wanted, published, &|i| open(&paths[i]))
}

fn open(path: &Path) -> Result<Input, DataError> {
    let unreadable = |source| DataError::Read { path: path.to_owned(), source };
    // A pipe would wait for a writer, and a device has no end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let is_gzip = start.starts_with(&GZIP);
    if !is_gzip && path.extension().is_some_and(|ending| ending == "gz") {
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
