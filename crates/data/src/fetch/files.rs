//! The files of a dataset in the cache: which are right, and how new ones get there.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tempfile::{NamedTempFile, TempDir};

use super::Checked;
use crate::cache::{CacheLock, cannot_write};
use crate::checksum::{self, Hashing, Stamp};
use crate::refusal::{refusal, sync_folder};
use crate::{DataError, Progress, counted};

/// A decompressed file that is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    pub(super) sha256: &'static str,
}

/// Why a file was not taken from a place.
#[derive(Debug)]
pub(super) enum Failure {
    /// This file is missing or wrong there; the next may be right.
    File(String),
    /// The place cannot be reached; there is no use in asking for the next file.
    Place(String),
    /// The cache is at fault, so that no other place would help.
    Cache(DataError),
}

/// A directory beside the files, for what is not yet checked; it is removed on drop.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: TempDir,
    /// Where checked files go.
    files: PathBuf,
}

const SCRATCH: &str = ".draft-";

impl Scratch {
    /// Also removes what a killed run left. Nothing without the lock: another run's may be in use then.
    pub(super) fn new(files: &Path, fetching: &CacheLock) -> Result<Self, DataError> {
        let make = || -> io::Result<TempDir> {
            for old in fs::read_dir(files)? {
                let old = old?;
                if fetching.is_held() && old.file_name().to_string_lossy().starts_with(SCRATCH) {
                    fs::remove_dir_all(old.path())?;
                }
            }
            tempfile::Builder::new().prefix(SCRATCH).tempdir_in(files)
        };
        Ok(Self { dir: make().map_err(cannot_write(files))?, files: files.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Returns `true` for a file that has the stamp that it had when it was found right.
pub(super) fn is_unchanged(dir: &Path, file: &Wanted, checked: &Checked) -> bool {
    let stamp = Stamp::of(&dir.join(file.name)).ok();
    stamp.is_some() && checked.iter().find(|(name, _)| name == file.name).map(|(_, stamp)| *stamp) == stamp
}

/// The files that the cache has not got or must not use; tells of the latter.
pub(super) fn missing(
    dir: &Path,
    wanted: &[Wanted],
    checked: &Checked,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Wanted>, DataError> {
    let mut missing = Vec::new();
    for file in wanted {
        let path = dir.join(file.name);
        if is_unchanged(dir, file, checked) {
            continue;
        }
        let fault = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.push(file.clone());
                continue;
            }
            Err(error) => Some(error.to_string()),
            Ok(metadata) if metadata.len() != file.bytes => wrong_size(file, metadata.len()),
            Ok(_) => {
                progress(Progress::Hashing { place: path.clone() });
                match checksum::of_file(&path) {
                    Ok(sha256) => wrong_hash(file, &sha256),
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        if let Some(reason) = fault {
            progress(Progress::Refused { file: path, reason });
            missing.push(file.clone());
        }
    }
    Ok(missing)
}

/// The present stamps of files that were found right.
pub(super) fn stamps(dir: &Path, wanted: &[Wanted]) -> Result<Checked, DataError> {
    let stamp = |file: &Wanted| {
        let path = dir.join(file.name);
        let stamp = Stamp::of(&path).map_err(cannot_write(&path))?;
        Ok((file.name.to_owned(), stamp))
    };
    wanted.iter().map(stamp).collect()
}

/// Takes a file from a directory, plain or gzip; `place` is what people call the directory.
pub(super) fn copy(
    from: &Path,
    place: &str,
    file: &Wanted,
    scratch: &Scratch,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Failure> {
    if !from.is_dir() {
        return Err(Failure::Place("there is no such directory".to_owned()));
    }
    let plain = from.join(file.name);
    let packed = from.join(format!("{}.gz", file.name));
    let (path, opened) = match File::open(&plain) {
        Ok(opened) => (plain, opened),
        Err(_) => match File::open(&packed) {
            Ok(opened) => (packed, opened),
            Err(error) => return Err(Failure::File(format!("{}: {error}", packed.display()))),
        },
    };
    progress(Progress::Found { file: file.name.to_owned(), place: place.to_owned() });
    let reader = BufReader::with_capacity(1 << 16, opened);
    let installed = match path.extension() {
        Some(_) => install(&mut MultiGzDecoder::new(reader), file, scratch),
        None => install(&mut { reader }, file, scratch),
    };
    if let Err(Failure::File(reason)) = &installed {
        progress(Progress::Refused { file: path, reason: reason.clone() });
    }
    installed
}

/// Writes a decompressed stream beside the files and checks it; only what is right gets its name.
pub(super) fn install(from: &mut dyn Read, file: &Wanted, scratch: &Scratch) -> Result<(), Failure> {
    let target = scratch.files.join(file.name);
    let fail = |source| Failure::Cache(DataError::Cache { path: target.clone(), source });
    let mut temporary = NamedTempFile::new_in(scratch.path()).map_err(fail)?;
    // One byte more than wanted, so that a stream without end is neither stored nor taken for right.
    let mut reader = Hashing::new(from.take(file.bytes + 1));
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                temporary.write_all(&buffer[..n]).map_err(fail)?;
                bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => {
                return Err(Failure::File(format!("{error} after {bytes} of {}", counted(file.bytes, "byte"))));
            }
        }
    }
    if let Some(reason) = wrong_size(file, bytes).or_else(|| wrong_hash(file, &reader.finish())) {
        return Err(Failure::File(reason));
    }
    refusal(temporary.as_file().sync_all()).map_err(fail)?;
    temporary.persist(&target).map_err(|error| fail(error.error))?;
    sync_folder(&scratch.files).map(drop).map_err(fail)
}

fn wrong_size(file: &Wanted, bytes: u64) -> Option<String> {
    match bytes.cmp(&file.bytes) {
        std::cmp::Ordering::Less => Some(format!("truncated to {bytes} of {}", counted(file.bytes, "byte"))),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("longer than its {}", counted(file.bytes, "byte"))),
    }
}

fn wrong_hash(file: &Wanted, sha256: &str) -> Option<String> {
    (sha256 != file.sha256).then(|| format!("altered: its SHA-256 is {sha256}, not {}", file.sha256))
}
