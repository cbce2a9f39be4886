//! The cache's directory, its locks, and atomic writes of its small files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::checksum;
use crate::refusal::{persist, refusal};
use crate::{data_step::DataStep, error::DataError};

/// The cache that keeps datasets and partitions between runs.
///
/// `datasets/` holds the datasets that were fetched, `partitions/` the partitions that were dealt. The size of the
/// partitions is bounded: the least recently used ones are removed first, and none is removed while a run uses it.
/// Several runs may use one cache at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
    limit: u64,
    /// The folder in which a verifying view deals, instead of the cache.
    scratch: Option<PathBuf>,
}

impl Cache {
    /// The default bound on the bytes of all partitions: 2 GiB. [`Cache::limited`] sets another.
    pub const LIMIT: u64 = 2 << 30;

    /// Returns the user's cache: `$XDG_CACHE_HOME/fedpipe`, or `~/.cache/fedpipe`.
    ///
    /// # Errors
    /// Neither the variable nor a home directory is known. (A relative path in the variable is ignored, as the XDG
    /// specification demands.)
    pub fn user() -> Result<Self, DataError> {
        let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base =
            given.or_else(|| std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache")));
        base.map(|base| Self::at(base.join("fedpipe"))).ok_or(DataError::NoHome)
    }

    /// Returns a cache in the directory `root`, which is made at the first write.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limit: Self::LIMIT, scratch: None }
    }

    /// Returns the same cache with another bound on the bytes of its partitions.
    #[must_use]
    pub fn limited(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Returns a view of this cache that trusts none of its contents, for the verification of a run.
    ///
    /// Partitions are dealt again, in `scratch`, which the caller removes after the run. Every file of a dataset is
    /// read and hashed, whatever stamps and hashes the cache has recorded. A dataset that is known by name must have
    /// its published hash. The cache does not change, except that missing files of Fashion-MNIST are fetched.
    #[must_use]
    pub fn verifying(&self, scratch: &Path) -> Self {
        Self { scratch: Some(scratch.to_owned()), ..self.clone() }
    }

    /// Returns the cache's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folders of the cache's contents: its directory, the targets of symbolic links in it (such as
    /// `datasets` on another disk), and the scratch folder of a verifying view.
    pub fn places(&self) -> Vec<PathBuf> {
        let (datasets, partitions) = (self.datasets(), self.partitions());
        let mut folders = vec![self.root.clone(), datasets.clone(), partitions];
        folders.extend(entries(&datasets));
        let links = folders.iter().flat_map(|folder| entries(folder)).filter(|path| path.is_symlink());
        let links: Vec<PathBuf> = links.collect();
        folders.extend(links);
        folders.extend(self.scratch.clone());
        folders
    }

    /// Returns `false` for a verifying view.
    pub(crate) fn is_trusted(&self) -> bool {
        self.scratch.is_none()
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn datasets(&self) -> PathBuf {
        self.root.join("datasets")
    }

    pub(crate) fn partitions(&self) -> PathBuf {
        self.scratch.as_ref().unwrap_or(&self.root).join("partitions")
    }

    /// Takes the exclusive lock for writing datasets.
    pub(crate) fn lock_datasets(&self, progress: &mut dyn FnMut(DataStep)) -> Result<CacheLock, DataError> {
        self.lock(self.datasets().with_extension("lock"), "fetching a dataset", progress)
    }

    /// Takes the exclusive lock for writing or removing partitions.
    pub(crate) fn lock_partitions(&self, progress: &mut dyn FnMut(DataStep)) -> Result<CacheLock, DataError> {
        self.lock(self.partitions().with_extension("lock"), "dealing partitions", progress)
    }

    /// Takes an exclusive lock, which is released on drop. `what` describes the work of its holder. If the file system
    /// refuses locks, the work continues without one, and `progress` gets a step.
    fn lock(
        &self,
        path: PathBuf,
        what: &'static str,
        progress: &mut dyn FnMut(DataStep),
    ) -> Result<CacheLock, DataError> {
        make_dir(path.parent().unwrap_or(Path::new(".")))?;
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(cannot_write(&path))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                progress(DataStep::Waiting { what });
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
        };
        let refused = refusal(locked).map_err(cannot_write(&path))?;
        if let Some(error) = &refused {
            progress(self.unlocked(error));
        }
        Ok(CacheLock { is_held: refused.is_none(), _file: file })
    }

    /// Returns the step that reports a file system without locks.
    pub(crate) fn unlocked(&self, error: &io::Error) -> DataStep {
        DataStep::Unlocked { cache: self.root.clone(), reason: error.to_string() }
    }
}

/// An exclusive lock of the cache, or its refusal by the file system.
#[derive(Debug)]
pub(crate) struct CacheLock {
    _file: File,
    is_held: bool,
}

impl CacheLock {
    /// Returns the lock of a file system that refuses locks.
    #[cfg(test)]
    pub(crate) fn refused() -> Self {
        Self { _file: tempfile::tempfile().expect("a temporary file"), is_held: false }
    }

    /// Returns `false` if the file system refused the lock, so that other runs may do the same work now.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// A shared lock that keeps an entry of the cache from being removed. The kernel releases it even if the process is
/// killed.
#[derive(Debug)]
pub struct UsageLock {
    shared_lock: File,
}

impl UsageLock {
    pub(crate) fn new(shared_lock: File) -> Self {
        Self { shared_lock }
    }
}

impl Drop for UsageLock {
    /// Unlocks explicitly. A process that was just forked shares the lock until its `execve`, so closing the file would
    /// not release it.
    fn drop(&mut self) {
        let _ = self.shared_lock.unlock();
    }
}

pub(crate) fn make_dir(dir: &Path) -> Result<(), DataError> {
    fs::create_dir_all(dir).map_err(cannot_write(dir))
}

/// Returns a function for `map_err` that makes the cache's error at `path`.
pub(crate) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> DataError {
    move |source| DataError::Cache { path: path.to_owned(), source }
}

/// Reads a small JSON file of the cache. Returns `None` if the file is missing or damaged.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a small JSON file atomically: by a temporary file, fsync and rename.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let write = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        persist(file, path)
    };
    write().map_err(cannot_write(path))
}

/// Returns the name of a cache entry: the start of the hash of `text`, which lists all that the entry depends on.
pub(crate) fn key(text: &str) -> String {
    let mut key = checksum::of_text(text);
    key.truncate(32);
    key
}
