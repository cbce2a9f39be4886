//! Temporary folders, and file systems that forbid execution.

pub(crate) mod folder_check;
pub(crate) mod lock;
#[cfg(test)]
pub(crate) mod test_files;
pub(crate) mod timeline_log;

use std::{
    env,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use nix::sys::statvfs::{FsFlags, statvfs};
use tempfile::TempDir;

use crate::error::{Error, Result};

/// Returns the reason why no dylib in `folder` can be loaded, if its file system is mounted noexec.
pub(crate) fn noexec(folder: &Path) -> Option<String> {
    let flags = statvfs(folder).ok()?.flags();
    flags.contains(FsFlags::ST_NOEXEC).then(|| {
        let absolute = folder.canonicalize();
        let shown = absolute.as_deref().unwrap_or(folder).display();
        format!("{shown} is on a file system that is mounted noexec, so that no model in it can be loaded")
    })
}

/// A folder that is removed when this value is dropped. Its lock distinguishes it from the folder of a killed process.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// Removes the folders of killed processes in `place` and creates one there, whose name begins with `prefix`.
    pub(crate) fn new_in(place: &Path, prefix: &str, mode: u32) -> io::Result<Self> {
        sweep(place, prefix, SystemTime::now() - FRESH);
        let permissions = fs::Permissions::from_mode(mode);
        let folder = tempfile::Builder::new().prefix(prefix).permissions(permissions).tempdir_in(place)?;
        // A folder without a lock is safe for as long as it is fresh.
        let lock = File::open(folder.path()).ok().filter(|lock| lock.try_lock_shared().is_ok());
        Ok(Self { folder, _lock: lock })
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder, which has been renamed.
    pub(crate) fn keep(self) {
        let _ = self.folder.keep();
    }
}

/// The age below which a folder may not have its lock yet.
const FRESH: Duration = Duration::from_secs(60);

/// Removes the folders of this prefix that were last changed before `fresh` and whose process has ended.
fn sweep(place: &Path, prefix: &str, fresh: SystemTime) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
        let is_old = entry.metadata().is_ok_and(|data| data.is_dir() && data.modified().is_ok_and(|at| at < fresh));
        if is_old && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Creates a temporary folder from which a model can be loaded.
///
/// # Errors
/// [`Error::System`], which names TMPDIR if another folder may help.
pub fn temporary_folder(prefix: &str) -> Result<TemporaryFolder> {
    let folder = TemporaryFolder::new_in(&env::temp_dir(), prefix, 0o700).map_err(|error| Error::temporary(&error))?;
    match noexec(folder.path()) {
        Some(why) => Err(Error::System(anyhow::anyhow!("{why}; set TMPDIR to another folder"))),
        None => Ok(folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_an_ended_process_is_removed_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("model.so"), "").unwrap();
            path
        };
        let (left, other) = (make("run-left"), make("other"));
        let living = TemporaryFolder::new_in(place.path(), "run-", 0o777).unwrap();
        assert!(left.exists(), "it may not have its lock yet");
        sweep(place.path(), "run-", SystemTime::now() + FRESH);
        assert!(!left.exists() && other.exists() && living.path().exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }

    /// The kernel lists the mounts: each that is noexec is found, and no other.
    #[test]
    fn a_noexec_mount_is_found() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let own = tempfile::tempdir().unwrap();
        assert_eq!(noexec(own.path()).is_some(), mounts_of(&mounts, own.path()).contains(&"noexec"));
        for line in mounts.lines() {
            let folder = Path::new(line.split(' ').nth(1).unwrap());
            if statvfs(folder).is_ok() && !line.contains('\\') {
                assert_eq!(noexec(folder).is_some(), mounts_of(&mounts, folder).contains(&"noexec"), "{line}");
            }
        }
        assert_eq!(noexec(Path::new("/nonexistent")), None);
    }

    /// Returns the options of the last mount that covers `path`.
    fn mounts_of<'m>(mounts: &'m str, path: &Path) -> Vec<&'m str> {
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let covering = fields.filter(|fields| path.starts_with(fields[1]));
        let most = covering.enumerate().max_by_key(|(index, fields)| (fields[1].len(), *index));
        most.map_or(Vec::new(), |(_, fields)| fields[3].split(',').collect())
    }
}
