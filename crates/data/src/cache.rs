//! The cache's directory, its locks, and files that appear whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::checksum;
use crate::refusal::{refusal, sync_folder};
use crate::{DataError, Progress};

/// Where datasets and partitions are kept between runs.
///
/// `datasets/` holds what was fetched, `partitions/` what was dealt. The partitions are bounded, the least recently
/// used go first, and none goes while a run uses it. Several runs may use one cache at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
    limit: u64,
    /// The folder that a verifying view deals into, instead of the cache.
    scratch: Option<PathBuf>,
}

impl Cache {
    /// The bytes of partitions that are kept unless [`Cache::limited`] says otherwise: 2 GiB.
    pub const LIMIT: u64 = 2 << 30;

    /// The user's cache: `$XDG_CACHE_HOME/fedpipe`, or `~/.cache/fedpipe`.
    ///
    /// # Errors
    /// Where neither the variable nor a home directory is known. (A relative path in the variable is ignored, as the
    /// XDG specification has it.)
    pub fn user() -> Result<Self, DataError> {
        let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let base =
            given.or_else(|| std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache")));
        base.map(|base| Self::at(base.join("fedpipe"))).ok_or(DataError::NoHome)
    }

    /// A cache in a directory of the caller's; it is made when first written to.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limit: Self::LIMIT, scratch: None }
    }

    /// The same cache with another bound on the bytes of its partitions.
    #[must_use]
    pub fn limited(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// A view of this cache that trusts nothing in it, for a run that is to be verified.
    ///
    /// Partitions are dealt anew, in `scratch`, which the caller removes when the run is over. Every file of a dataset is read and
    /// hashed, whatever its stamp is and whatever the cache remembers of it, and a dataset that is known by name must have its
    /// published hash. The cache itself stays as it is; only files of Fashion-MNIST that it lacks are fetched.
    #[must_use]
    pub fn verifying(&self, scratch: &Path) -> Self {
        Self { scratch: Some(scratch.to_owned()), ..self.clone() }
    }

    /// The cache's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the places of its contents: its directory, what links in it lead to, such as `datasets` on another disk, and the scratch of
    /// a verifying view.
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

    /// Takes the exclusive lock of those who write datasets.
    pub(crate) fn lock_datasets(&self, progress: &mut dyn FnMut(Progress)) -> Result<CacheLock, DataError> {
        self.lock(self.datasets().with_extension("lock"), "fetching a dataset", progress)
    }

    /// Takes the exclusive lock of those who write or remove partitions.
    pub(crate) fn lock_partitions(&self, progress: &mut dyn FnMut(Progress)) -> Result<CacheLock, DataError> {
        self.lock(self.partitions().with_extension("lock"), "dealing partitions", progress)
    }

    /// Takes an exclusive lock; `what` says what its holder is doing. It is released on drop. Where the file system refuses
    /// locks, the work goes on without and `progress` is told.
    fn lock(
        &self,
        path: PathBuf,
        what: &'static str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CacheLock, DataError> {
        make_dir(path.parent().unwrap_or(Path::new(".")))?;
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(cannot_write(&path))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                progress(Progress::Waiting { what });
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

    /// Says that the cache's file system refuses locks.
    pub(crate) fn unlocked(&self, error: &io::Error) -> Progress {
        Progress::Unlocked { cache: self.root.clone(), reason: error.to_string() }
    }
}

/// An exclusive lock of the cache, or the refusal of one.
#[derive(Debug)]
pub(crate) struct CacheLock {
    _file: File,
    is_held: bool,
}

impl CacheLock {
    /// As of a file system that refuses locks.
    #[cfg(test)]
    pub(crate) fn refused() -> Self {
        Self { _file: tempfile::tempfile().expect("a temporary file"), is_held: false }
    }

    /// Returns `false` if the file system refused the lock, so that others may be at the same work.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Keeps an entry of the cache from being removed for as long as it lives, by a shared lock that the kernel releases
/// even when the process is killed.
#[derive(Debug)]
pub struct InUse {
    shared_lock: File,
}

impl InUse {
    pub(crate) fn new(shared_lock: File) -> Self {
        Self { shared_lock }
    }
}

impl Drop for InUse {
    /// By name: a process that is being forked shares the lock until it becomes another program, and closing alone would
    /// leave it with the lock.
    fn drop(&mut self) {
        let _ = self.shared_lock.unlock();
    }
}

pub(crate) fn make_dir(dir: &Path) -> Result<(), DataError> {
    fs::create_dir_all(dir).map_err(cannot_write(dir))
}

/// For `map_err`: the cache's error at a path.
pub(crate) fn cannot_write(path: &Path) -> impl Fn(io::Error) -> DataError {
    move |source| DataError::Cache { path: path.to_owned(), source }
}

/// Reads a small JSON file of the cache; one that is missing or damaged is as good as none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a small JSON file by a temporary file, fsync and rename.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let write = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        refusal(file.as_file().sync_all())?;
        file.persist(path)?;
        sync_folder(dir).map(drop)
    };
    write().map_err(cannot_write(path))
}

/// The name of a cache entry: the start of the hash of what it depends on.
pub(crate) fn key(text: &str) -> String {
    let mut key = checksum::of_text(text);
    key.truncate(32);
    key
}
