//! Removes old partitions to keep the cache within its bound.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::{CacheLock, cannot_write};
use crate::entry::{DRAFT, IN_USE, remove};
use crate::{cache::Cache, data_step::DataStep, error::DataError};

#[derive(Debug)]
struct Candidate {
    dir: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// Removes the least recently used entries that no run uses, until the rest fit the cache's bound.
///
/// Drafts of killed runs are removed, too. Without the writers' lock nothing is removed, since other runs may be
/// writing.
pub(crate) fn evict(cache: &Cache, writing: &CacheLock, progress: &mut dyn FnMut(DataStep)) -> Result<(), DataError> {
    if !writing.is_held() || !cache.is_trusted() {
        return Ok(());
    }
    let partitions = cache.partitions();
    let mut candidates = candidates(&partitions).map_err(cannot_write(&partitions))?;
    // Equal times are ordered by name, so the order does not depend on the directory.
    candidates.sort_by(|a, b| (a.used, &a.dir).cmp(&(b.used, &b.dir)));
    let mut total: u64 = candidates.iter().map(|candidate| candidate.bytes).sum();
    let (mut entries, mut bytes) = (0, 0);
    for candidate in candidates {
        if total <= cache.limit() {
            break;
        }
        if let Some(_unused) = lock_if_unused(&candidate.dir) {
            remove(&candidate.dir).map_err(cannot_write(&candidate.dir))?;
            total -= candidate.bytes;
            bytes += candidate.bytes;
            entries += 1;
        }
    }
    if entries > 0 {
        progress(DataStep::Evicted { entries, bytes });
    }
    Ok(())
}

fn candidates(partitions: &Path) -> io::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for dir in fs::read_dir(partitions)? {
        let dir = dir?;
        if dir.file_name().to_string_lossy().starts_with(DRAFT) {
            fs::remove_dir_all(dir.path())?;
            continue;
        }
        let Ok(used) = dir.path().join(IN_USE).metadata().and_then(|metadata| metadata.modified()) else { continue };
        let mut bytes = 0;
        for file in fs::read_dir(dir.path())? {
            bytes += file?.metadata()?.len();
        }
        candidates.push(Candidate { dir: dir.path(), used, bytes });
    }
    Ok(candidates)
}

fn lock_if_unused(dir: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).open(dir.join(IN_USE)).ok()?;
    file.try_lock().ok()?;
    Some(file)
}
