//! Files that are whole or absent: written beside their place, synced, renamed.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use fedpipe_data::{refusal, sync_folder};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::{Error, Result};

/// How the name of a file begins that is not yet in its place.
const DRAFT: &str = ".new-";

/// Writes `contents` to `path` so that a reader, or a power cut, meets the old file or the new one. A file system that
/// refuses to sync, or to change a mode, has the new file all the same.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder)?;
    file.write_all(contents)?;
    refusal(file.as_file().sync_all())?;
    refusal(set_usual_permissions(file.path()))?;
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

/// Makes a temporary folder from which a model can be loaded.
///
/// # Errors
/// [`Error::System`], which names TMPDIR where another folder would do.
pub(crate) fn temporary_folder(prefix: &str) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().map_err(|error| Error::temporary(&error))?;
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

/// A temporary file is its owner's alone; a result is not.
fn set_usual_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

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
