//! An entry of `partitions/`: a directory of partition files that appears by rename and is removed whole.
//!
//! `entry.json` lists the files with their hashes and stamps; `in-use` is locked shared by every run that uses the entry
//! and exclusively by the one that removes it. Its time of change is when the entry was last used.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cache::{InUse, cannot_write, make_dir, read_json, write_json};
use crate::checksum::Stamp;
use crate::dataset::Examples;
use crate::deal::PartitionFile;
use crate::partition_file::{self, About, Hashes};
use crate::refusal::{refusal, sync_folder};
use crate::spread::spread;
use crate::{Cache, DataError, DatasetInfo, Progress};

pub(crate) const IN_USE: &str = "in-use";
const MANIFEST: &str = "entry.json";
/// How many files are synced at once.
const SYNCS: usize = 16;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    dataset: DatasetInfo,
    files: Vec<Record>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    examples: u64,
    // Nested: to flatten them takes longer than to look at the files.
    hashes: Hashes,
    stamp: Stamp,
}

/// Returns `true` for the name of the file that makes a folder an entry of some cache.
pub fn is_manifest(name: &OsStr) -> bool {
    name == MANIFEST
}

impl Record {
    /// Renews the stamp where the file at `path` has another one and still has its hashes; `hashing` is called before the file
    /// is read. Returns `false` where the stamp is as it was.
    ///
    /// # Errors
    /// The reason why the file is refused.
    fn renew(&mut self, path: &Path, hashing: &mut dyn FnMut()) -> Result<bool, String> {
        // Before reading, so that a file that changes meanwhile is hashed again next time.
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
        PartitionFile { path: dir.join(self.name), examples: self.examples, sha256: self.hashes.sha256 }
    }
}

/// An entry that this run uses.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) dataset: DatasetInfo,
    pub(crate) files: Vec<PartitionFile>,
    pub(crate) in_use: InUse,
}

impl Entry {
    /// Opens an entry of a cache that is trusted; returns `None` where it is missing, or where a file of it has other content
    /// than was written.
    pub(crate) fn open(dir: &Path, cache: &Cache, progress: &mut dyn FnMut(Progress)) -> Option<Self> {
        if !cache.is_trusted() {
            return None;
        }
        let (in_use, refused) = lock(dir)?;
        refused.iter().for_each(|error| progress(cache.unlocked(error)));
        let mut manifest: Manifest = read_json(&dir.join(MANIFEST))?;
        let mut is_told = false;
        let mut is_renewed = false;
        for record in &mut manifest.files {
            let path = dir.join(&record.name);
            let mut hashing = || {
                if !std::mem::replace(&mut is_told, true) {
                    progress(Progress::Hashing { place: dir.to_owned() });
                }
            };
            match record.renew(&path, &mut hashing) {
                Ok(renewed) => is_renewed |= renewed,
                Err(reason) => {
                    progress(Progress::Refused { file: path, reason });
                    return None;
                }
            }
        }
        if is_renewed {
            // A cache that is read-only is no failure: the files are hashed again next time.
            let _ = write_json(&dir.join(MANIFEST), &manifest);
        }
        // Only the order of eviction depends on it, so a cache that is read-only is no failure.
        let _ = in_use.set_modified(SystemTime::now());
        let files = manifest.files.into_iter().map(|record| record.file(dir)).collect();
        Some(Self { dataset: manifest.dataset, files, in_use: InUse::new(in_use) })
    }
}

/// The shared lock of an entry, unless the entry is missing or was removed while this waited for the lock; and the error of
/// a file system that refuses it, by which nobody else can remove the entry either.
fn lock(dir: &Path) -> Option<(File, Option<io::Error>)> {
    let path = dir.join(IN_USE);
    // Opened for writing, since network file systems refuse some locks on files opened for reading.
    let file = OpenOptions::new().read(true).write(true).open(&path).or_else(|_| File::open(&path)).ok()?;
    let refused = refusal(file.lock_shared()).ok()?;
    let (ours, there) = (file.metadata().ok()?, path.metadata().ok()?);
    (ours.ino() == there.ino() && ours.dev() == there.dev()).then_some((file, refused))
}

/// An entry being written, in a directory of its own until it is whole. A draft that is dropped leaves nothing.
#[derive(Debug)]
pub(crate) struct Draft {
    dir: TempDir,
    in_use: File,
    files: Vec<Written>,
    /// Later runs may use the entry: it is synced, and has its list.
    is_kept: bool,
}

/// A file of a draft.
#[derive(Debug)]
struct Written {
    name: String,
    examples: u64,
    hashes: Hashes,
}

/// How the directories of drafts begin; the writers' lock is held by whoever may see or remove them.
pub(crate) const DRAFT: &str = ".draft-";

impl Draft {
    pub(crate) fn new(cache: &Cache) -> Result<Self, DataError> {
        let partitions = cache.partitions();
        make_dir(&partitions)?;
        let dir = tempfile::Builder::new().prefix(DRAFT).tempdir_in(&partitions).map_err(cannot_write(&partitions))?;
        let path = dir.path().join(IN_USE);
        // The lock goes along with the file when the directory is renamed, so the entry is never seen unlocked.
        let in_use = File::create_new(&path).map_err(cannot_write(&path))?;
        // A file system that refuses this lock refused the writers' lock before, which was told.
        refusal(in_use.lock_shared()).map_err(cannot_write(&path))?;
        Ok(Self { dir, in_use, files: Vec::new(), is_kept: cache.is_trusted() })
    }

    /// Writes the next file.
    pub(crate) fn add(
        &mut self,
        name: String,
        from: &Examples,
        rows: &[u32],
        about: &About<'_>,
    ) -> Result<(), DataError> {
        let path = self.dir.path().join(&name);
        let hashes = partition_file::write(&path, from, rows, about).map_err(cannot_write(&path))?;
        self.files.push(Written { name, examples: rows.len() as u64, hashes });
        Ok(())
    }

    /// Makes the draft the entry at `dir`, in place of a damaged one.
    pub(crate) fn finish(self, dataset: &DatasetInfo, dir: &Path) -> Result<Entry, DataError> {
        if self.is_kept {
            self.sync()?;
        }
        let mut files = Vec::with_capacity(self.files.len());
        for Written { name, examples, hashes } in self.files {
            let path = self.dir.path().join(&name);
            let stamp = Stamp::of(&path).map_err(cannot_write(&path))?;
            files.push(Record { name, examples, hashes, stamp });
        }
        let manifest = Manifest { dataset: dataset.clone(), files };
        if self.is_kept {
            write_json(&self.dir.path().join(MANIFEST), &manifest)?;
        }
        let publish = || -> io::Result<()> {
            remove(dir)?;
            fs::rename(self.dir.path(), dir)?;
            if self.is_kept { sync_folder(dir.parent().unwrap_or(Path::new("."))).map(drop) } else { Ok(()) }
        };
        publish().map_err(cannot_write(dir))?;
        // The directory has another name now: there is nothing left to remove.
        let _ = self.dir.keep();
        let files = manifest.files.into_iter().map(|record| record.file(dir)).collect();
        Ok(Entry { dataset: manifest.dataset, files, in_use: InUse::new(self.in_use) })
    }

    /// Puts all files on the disk. Several at once: a file system commits them together, and one after the other a
    /// thousand can take seconds. The first failure, in time, is the one that is returned.
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

/// Removes an entry, if it is there: renamed first, so that nobody sees half of one.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(Path::new("."));
    let grave = tempfile::Builder::new().prefix(DRAFT).tempdir_in(parent)?;
    match fs::rename(dir, grave.path()) {
        Ok(()) => grave.close(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => grave.close(),
        Err(error) => Err(error),
    }
}
