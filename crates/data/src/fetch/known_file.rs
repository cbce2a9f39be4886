//! The files of a dataset whose hashes are known: checks those in the cache and installs new ones.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tempfile::{NamedTempFile, TempDir};

use super::CheckedFiles;
use crate::cache::{CacheLock, cannot_write};
use crate::checksum::{self, Hashing, Stamp};
use crate::refusal::persist;
use crate::{counted::counted, data_step::DataStep, error::DataError};

/// A decompressed file whose size and hash are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownFile {
    pub(super) name: &'static str,
    pub(super) bytes: u64,
    pub(super) sha256: &'static str,
}

/// The reason why a file was not taken from an origin.
#[derive(Debug)]
pub(super) enum FetchFailure {
    /// The file is missing or damaged there. Another file may be intact.
    File(String),
    /// The origin cannot be reached, so no other file is requested.
    Origin(String),
    /// The cache failed, so no other origin is tried.
    Cache(DataError),
}

/// A temporary directory beside the files, for unchecked content. It is removed on drop.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: TempDir,
    /// The directory of the checked files.
    files: PathBuf,
}

const SCRATCH: &str = ".draft-";

impl Scratch {
    /// Makes the directory, and removes those of killed runs. Without the lock it removes nothing, since another run
    /// may use one.
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

/// Returns `true` if the file has the stamp of its last check.
pub(super) fn is_unchanged(dir: &Path, file: &KnownFile, checked: &CheckedFiles) -> bool {
    let stamp = Stamp::of(&dir.join(file.name)).ok();
    stamp.is_some() && checked.iter().find(|(name, _)| name == file.name).map(|(_, stamp)| *stamp) == stamp
}

/// Returns the files that the cache lacks or must not use. A file that must not be used is reported.
pub(super) fn missing(
    dir: &Path,
    known_files: &[KnownFile],
    checked: &CheckedFiles,
    progress: &mut dyn FnMut(DataStep),
) -> Result<Vec<KnownFile>, DataError> {
    let mut missing = Vec::new();
    for file in known_files {
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
                progress(DataStep::Hashing { place: path.clone() });
                match checksum::of_file(&path) {
                    Ok(sha256) => wrong_hash(file, &sha256),
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        if let Some(reason) = fault {
            progress(DataStep::Refused { file: path, reason });
            missing.push(file.clone());
        }
    }
    Ok(missing)
}

/// Returns the present stamps of files whose hash is correct.
pub(super) fn stamps(dir: &Path, known_files: &[KnownFile]) -> Result<CheckedFiles, DataError> {
    let stamp = |file: &KnownFile| {
        let path = dir.join(file.name);
        let stamp = Stamp::of(&path).map_err(cannot_write(&path))?;
        Ok((file.name.to_owned(), stamp))
    };
    known_files.iter().map(stamp).collect()
}

/// Copies a file from a directory, plain or gzip. `place` is the name of the directory for the user.
pub(super) fn copy(
    from: &Path,
    place: &str,
    file: &KnownFile,
    scratch: &Scratch,
    progress: &mut dyn FnMut(DataStep),
) -> Result<(), FetchFailure> {
    if !from.is_dir() {
        return Err(FetchFailure::Origin("there is no such directory".to_owned()));
    }
    let plain = from.join(file.name);
    let packed = from.join(format!("{}.gz", file.name));
    let (path, opened) = match File::open(&plain) {
        Ok(opened) => (plain, opened),
        Err(_) => match File::open(&packed) {
            Ok(opened) => (packed, opened),
            Err(error) => return Err(FetchFailure::File(format!("{}: {error}", packed.display()))),
        },
    };
    progress(DataStep::Found { file: file.name.to_owned(), place: place.to_owned() });
    let reader = BufReader::with_capacity(1 << 16, opened);
    let installed = match path.extension() {
        Some(_) => install(&mut MultiGzDecoder::new(reader), file, scratch),
        None => install(&mut { reader }, file, scratch),
    };
    if let Err(FetchFailure::File(reason)) = &installed {
        progress(DataStep::Refused { file: path, reason: reason.clone() });
    }
    installed
}

/// Writes a decompressed stream to a temporary file, checks it, and renames it if it is correct.
pub(super) fn install(from: &mut dyn Read, file: &KnownFile, scratch: &Scratch) -> Result<(), FetchFailure> {
    let target = scratch.files.join(file.name);
    let fail = |source| FetchFailure::Cache(DataError::Cache { path: target.clone(), source });
    let mut temporary = NamedTempFile::new_in(scratch.path()).map_err(fail)?;
    // One byte more than expected is read, so that an endless stream is neither stored nor accepted.
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
                return Err(FetchFailure::File(format!("{error} after {bytes} of {}", counted(file.bytes, "byte"))));
            }
        }
    }
    if let Some(reason) = wrong_size(file, bytes).or_else(|| wrong_hash(file, &reader.finish())) {
        return Err(FetchFailure::File(reason));
    }
    persist(temporary, &target).map_err(fail)
}

fn wrong_size(file: &KnownFile, bytes: u64) -> Option<String> {
    match bytes.cmp(&file.bytes) {
        std::cmp::Ordering::Less => Some(format!("truncated to {bytes} of {}", counted(file.bytes, "byte"))),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("longer than its {}", counted(file.bytes, "byte"))),
    }
}

fn wrong_hash(file: &KnownFile, sha256: &str) -> Option<String> {
    (sha256 != file.sha256).then(|| format!("altered: its SHA-256 is {sha256}, not {}", file.sha256))
}
