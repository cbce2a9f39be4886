//! An entry of `partitions/`: a directory of partition files, which appears and disappears by rename.
//!
//! `entry.json` lists the files with their hashes and stamps. Each run that uses the entry holds a shared lock of
//! `in-use`; a run that removes the entry takes an exclusive one. The time of modification of `in-use` is the time of
//! the last use.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cache::{UsageLock, cannot_write, make_dir, read_json, write_json};
use crate::checksum::Stamp;
use crate::deal::PartitionFile;
use crate::partition_file::{self, FileMetadata, Hashes};
use crate::refusal::{refusal, sync_folder};
use crate::split::Split;
use crate::spread::spread;
use crate::{cache::Cache, data_step::DataStep, dataset::DatasetInfo, error::DataError};

pub(crate) const IN_USE: &str = "in-use";
const MANIFEST: &str = "entry.json";
/// The number of files that are synced at once.
const SYNCS: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    dataset: DatasetInfo,
    files: Vec<FileRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileRecord {
    name: String,
    examples: u64,
    label_counts: Vec<u64>,
    // The hashes are nested, since `serde(flatten)` is slow for many files.
    hashes: Hashes,
    stamp: Stamp,
}

/// Returns `true` for the name of the file that makes a folder an entry of some cache.
pub fn is_manifest(name: &OsStr) -> bool {
    name == MANIFEST
}

impl FileRecord {
    /// Renews the stamp of the file at `path` if the stamp has changed and the hashes have not. `hashing` is called
    /// before the file is read. Returns `false` if the stamp is unchanged.
    ///
    /// # Errors
    /// The reason why the file is refused.
    fn renew(&mut self, path: &Path, hashing: &mut dyn FnMut()) -> Result<bool, String> {
        // The stamp is taken before reading, so a file that changes in the meantime is hashed again next time.
        let stamp = Stamp::of(path).map_err(|error| error.to_string())?;
        if stamp == self.stamp {
            return Ok(false);
        }
        let is_same = stamp.bytes == self.stamp.bytes && {
            hashing();
            partition_file::hashes(path).map_err(|error| error.to_string())? == self.hashes
        };
        self.stamp = stamp;
        if is_same { Ok(true) } else { Err("it was changed since it was dealt".to_owned()) }
    }

    fn file(self, dir: &Path) -> PartitionFile {
        let Self { name, examples, label_counts, hashes, .. } = self;
        PartitionFile { path: dir.join(name), examples, label_counts, sha256: hashes.sha256 }
    }
}

/// An entry that this run uses, with its lock.
#[derive(Debug)]
pub(crate) struct CacheEntry {
    pub(crate) dataset: DatasetInfo,
    pub(crate) files: Vec<PartitionFile>,
    pub(crate) in_use: UsageLock,
}

impl CacheEntry {
    /// Opens an entry of a trusted cache. Returns `None` if the entry is missing or one of its files has changed.
    pub(crate) fn open(dir: &Path, cache: &Cache, progress: &mut dyn FnMut(DataStep)) -> Option<Self> {
        if !cache.is_trusted() {
            return None;
        }
        let (in_use, refused) = lock(dir)?;
        refused.iter().for_each(|error| progress(cache.unlocked(error)));
        let mut manifest: Manifest = read_json(&dir.join(MANIFEST))?;
        let mut is_reported = false;
        let mut is_renewed = false;
        for record in &mut manifest.files {
            let path = dir.join(&record.name);
            let mut hashing = || {
                if !std::mem::replace(&mut is_reported, true) {
                    progress(DataStep::Hashing { place: dir.to_owned() });
                }
            };
            match record.renew(&path, &mut hashing) {
                Ok(renewed) => is_renewed |= renewed,
                Err(reason) => {
                    progress(DataStep::Refused { file: path, reason });
                    return None;
                }
            }
        }
        if is_renewed {
            // An error is ignored: in a read-only cache the files are hashed again next time.
            let _ = write_json(&dir.join(MANIFEST), &manifest);
        }
        // Only the order of eviction depends on the time, so an error is ignored.
        let _ = in_use.set_modified(SystemTime::now());
        let files = manifest.files.into_iter().map(|record| record.file(dir)).collect();
        Some(Self { dataset: manifest.dataset, files, in_use: UsageLock::new(in_use) })
    }
}

/// Takes the shared lock of an entry. Returns `None` if the entry is missing or was removed during the wait.
///
/// The error is that of a file system that refuses locks. On such a file system no run removes entries.
fn lock(dir: &Path) -> Option<(File, Option<io::Error>)> {
    let path = dir.join(IN_USE);
    // Network file systems refuse some locks on files that are open for reading only.
    let file = OpenOptions::new().read(true).write(true).open(&path).or_else(|_| File::open(&path)).ok()?;
    let refused = refusal(file.lock_shared()).ok()?;
    let (ours, there) = (file.metadata().ok()?, path.metadata().ok()?);
    (ours.ino() == there.ino() && ours.dev() == there.dev()).then_some((file, refused))
}

/// An entry that is being written, in a temporary directory. A dropped draft is removed.
#[derive(Debug)]
pub(crate) struct Draft<'d> {
    dataset: &'d DatasetInfo,
    dir: TempDir,
    in_use: File,
    files: Vec<DraftFile>,
    /// `true` if later runs may use the entry. It is then synced and has a manifest.
    is_kept: bool,
}

/// A file of a draft.
#[derive(Debug)]
struct DraftFile {
    name: String,
    examples: u64,
    label_counts: Vec<u64>,
    hashes: Hashes,
}

/// The start of the names of drafts. Only the holder of the writers' lock makes or removes drafts.
pub(crate) const DRAFT: &str = ".draft-";

impl<'d> Draft<'d> {
    pub(crate) fn new(dataset: &'d DatasetInfo, cache: &Cache) -> Result<Self, DataError> {
        let partitions = cache.partitions();
        make_dir(&partitions)?;
        let dir = tempfile::Builder::new().prefix(DRAFT).tempdir_in(&partitions).map_err(cannot_write(&partitions))?;
        let path = dir.path().join(IN_USE);
        // The lock stays with the file when the directory is renamed, so no other run sees the entry unlocked.
        let in_use = File::create_new(&path).map_err(cannot_write(&path))?;
        // A file system that refuses this lock has refused the writers' lock, which was reported.
        refusal(in_use.lock_shared()).map_err(cannot_write(&path))?;
        Ok(Self { dataset, dir, in_use, files: Vec::new(), is_kept: cache.is_trusted() })
    }

    /// Writes the next file.
    pub(crate) fn add(
        &mut self,
        name: String,
        from: &Split,
        rows: &[u32],
        about: &FileMetadata<'_>,
    ) -> Result<(), DataError> {
        let path = self.dir.path().join(&name);
        let hashes = partition_file::write(&path, from, rows, about).map_err(cannot_write(&path))?;
        let label_counts = from.label_counts(rows, self.dataset.target.class_count());
        self.files.push(DraftFile { name, examples: rows.len() as u64, label_counts, hashes });
        Ok(())
    }

    /// Renames the draft to `dir`, where it replaces a damaged entry.
    pub(crate) fn finish(self, dir: &Path) -> Result<CacheEntry, DataError> {
        if self.is_kept {
            self.sync()?;
        }
        let mut files = Vec::with_capacity(self.files.len());
        for DraftFile { name, examples, label_counts, hashes } in self.files {
            let path = self.dir.path().join(&name);
            let stamp = Stamp::of(&path).map_err(cannot_write(&path))?;
            files.push(FileRecord { name, examples, label_counts, hashes, stamp });
        }
        let manifest = Manifest { dataset: self.dataset.clone(), files };
        if self.is_kept {
            write_json(&self.dir.path().join(MANIFEST), &manifest)?;
        }
        let publish = || -> io::Result<()> {
            remove(dir)?;
            fs::rename(self.dir.path(), dir)?;
            if self.is_kept { sync_folder(dir.parent().unwrap_or(Path::new("."))).map(drop) } else { Ok(()) }
        };
        publish().map_err(cannot_write(dir))?;
        // The directory was renamed, so the temporary one must not be removed.
        let _ = self.dir.keep();
        let files = manifest.files.into_iter().map(|record| record.file(dir)).collect();
        Ok(CacheEntry { dataset: manifest.dataset, files, in_use: UsageLock::new(self.in_use) })
    }

    /// Syncs all files to the disk, several at once, since a thousand single syncs can take seconds.
    ///
    /// # Errors
    /// The first error in time.
    fn sync(&self) -> Result<(), DataError> {
        let sync = |name: &str| {
            let path = self.dir.path().join(name);
            File::open(&path).and_then(|file| refusal(file.sync_all())).map_err(cannot_write(&path))
        };
        let failed = OnceLock::new();
        spread(SYNCS.min(self.files.len()), self.files.iter(), |file| {
            if failed.get().is_none() {
                let _ = sync(&file.name).map_err(|error| failed.set(error));
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }
}

/// Removes an entry if it exists. The entry is renamed first, so that no other run sees a part of it.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    let removed = tempfile::Builder::new().prefix(DRAFT).tempdir_in(parent)?;
    match fs::rename(dir, removed.path()) {
        Ok(()) => removed.close(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => removed.close(),
        Err(error) => Err(error),
    }
}
