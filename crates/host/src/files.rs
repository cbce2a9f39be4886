//! Files that are whole or absent: written beside their place, synced, renamed.

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use fedpipe_data::{refusal, sync_folder};
use nix::sys::statvfs::{FsFlags, statvfs};
use tempfile::TempDir;

use crate::{Error, Result};

/// How the name of a file begins that is not yet in its place.
pub(crate) const DRAFT: &str = ".new-";

/// Reads a file whole. A pipe, which would wait for a writer, and a device, which has no end, are errors.
pub(crate) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    fs::read(path)
}

/// Writes `contents` to `path` so that a reader, or a power cut, meets the old file or the new one. A file system that
/// refuses to sync has the new file all the same.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // A temporary file is its owner's alone; a result is as the umask has it.
    let mode = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(DRAFT).permissions(mode).tempfile_in(folder)?;
    file.write_all(contents)?;
    refusal(file.as_file().sync_all())?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder).map(drop)
}

/// Why no dylib in `folder` can be loaded, where its file system is mounted so.
pub(crate) fn noexec(folder: &Path) -> Option<String> {
    let flags = statvfs(folder).ok()?.flags();
    flags.contains(FsFlags::ST_NOEXEC).then(|| {
        let absolute = folder.canonicalize();
        let shown = absolute.as_deref().unwrap_or(folder).display();
        format!("{shown} is on a file system that is mounted noexec, so that no model in it can be loaded")
    })
}

/// A folder that is removed when this value is dropped. Its lock tells the folder of a process that lives from one that was
/// left behind by a process that was killed.
#[derive(Debug)]
pub(crate) struct TemporaryFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// Makes a folder in `place`, whose name begins with `prefix`, after those that were left behind there are removed.
    pub(crate) fn new_in(place: &Path, prefix: &str, mode: u32) -> io::Result<Self> {
        sweep(place, prefix, SystemTime::now() - FRESH);
        let permissions = fs::Permissions::from_mode(mode);
        let folder = tempfile::Builder::new().prefix(prefix).permissions(permissions).tempdir_in(place)?;
        // Without a lock it is removed by nobody else in the time that counts as fresh.
        let lock = File::open(folder.path()).ok().filter(|lock| lock.try_lock_shared().is_ok());
        Ok(Self { folder, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps the folder, which has another name by now.
    pub(crate) fn keep(self) {
        let _ = self.folder.keep();
    }
}

/// The age below which a folder may not have its lock yet.
const FRESH: Duration = Duration::from_secs(60);

/// Removes the folders of this prefix that were last changed before `fresh` and whose process is gone.
fn sweep(place: &Path, prefix: &str, fresh: SystemTime) {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
        let is_old = entry.metadata().is_ok_and(|data| data.is_dir() && data.modified().is_ok_and(|at| at < fresh));
        if is_old && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes a temporary folder from which a model can be loaded.
///
/// # Errors
/// [`Error::System`], which names TMPDIR where another folder would do.
pub(crate) fn temporary_folder(prefix: &str) -> Result<TemporaryFolder> {
    let folder = TemporaryFolder::new_in(&env::temp_dir(), prefix, 0o700).map_err(|error| Error::temporary(&error))?;
    match noexec(folder.path()) {
        Some(why) => Err(Error::System(anyhow::anyhow!("{why}; set TMPDIR to another folder"))),
        None => Ok(folder),
    }
}

/// Removes what a host that was killed while it wrote has left in `folder`.
pub(crate) fn remove_drafts(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DRAFT)) {
        let _ = fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_whose_process_is_gone_is_removed_and_no_other() {
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

    /// The flags are the kernel's: each mount that says noexec is found, and no other.
    #[test]
    fn a_folder_is_known_to_be_mounted_noexec() {
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

    /// The options of the last mount that covers `path`.
    fn mounts_of<'m>(mounts: &'m str, path: &Path) -> Vec<&'m str> {
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let covering = fields.filter(|fields| path.starts_with(fields[1]));
        let most = covering.enumerate().max_by_key(|(index, fields)| (fields[1].len(), *index));
        most.map_or(Vec::new(), |(_, fields)| fields[3].split(',').collect())
    }
}
