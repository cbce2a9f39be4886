//! Handles file systems that refuse a lock, a sync or a mode, which the data do not need.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

/// The error numbers of a file system, a mount or a container that lacks an operation or forbids it to this user.
const REFUSALS: [i32; 7] = [
    libc::EINVAL,
    libc::EPERM,
    libc::EACCES,
    libc::EROFS,
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    // NFS without a lock daemon returns this.
    libc::ENOLCK,
];

/// Returns the error of a lock, a sync or a change of mode that the file system refuses. Such an error loses no data.
///
/// # Errors
/// Any other error, such as that of a full or failing disk.
pub fn refusal<T>(done: io::Result<T>) -> io::Result<Option<io::Error>> {
    match done {
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error().is_some_and(|number| REFUSALS.contains(&number)) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Syncs `folder`, so that a rename in it survives a power failure. Returns the error if the file system refuses.
///
/// # Errors
/// Returns the errors of [`refusal`].
pub fn sync_folder(folder: &Path) -> io::Result<Option<io::Error>> {
    refusal(File::open(folder).and_then(|folder| folder.sync_all()))
}

/// Syncs a temporary file and renames it to `path`, whose folder is then synced.
///
/// A reader, or a power failure, thus finds the old file or the whole new one.
///
/// # Errors
/// Returns the errors of [`refusal`], and those of the rename.
pub fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    refusal(file.as_file().sync_all())?;
    file.persist(path)?;
    sync_folder(folder_of(path)).map(drop)
}

/// Returns the folder of a file; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        let folders = ["a", "b/a", "/a"].map(|path| folder_of(Path::new(path)).to_owned());
        assert_eq!(folders, [".", "b", "/"].map(std::path::PathBuf::from));
    }

    #[test]
    fn a_refusal_is_returned_and_a_failure_is_an_error() {
        let of = |number| refusal::<()>(Err(io::Error::from_raw_os_error(number)));
        for number in REFUSALS {
            assert_eq!(of(number).unwrap().unwrap().raw_os_error(), Some(number));
        }
        for number in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EMFILE, libc::ENOENT, libc::EBADF] {
            assert_eq!(of(number).unwrap_err().raw_os_error(), Some(number));
        }
        assert!(refusal(Ok(())).unwrap().is_none());
        assert!(refusal::<()>(Err(io::ErrorKind::InvalidInput.into())).is_err());
    }

    #[test]
    fn a_persisted_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "old").unwrap();
        let new = NamedTempFile::new_in(folder.path()).unwrap();
        std::fs::write(new.path(), "new").unwrap();
        persist(new, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_synced_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sync_folder(folder.path()).unwrap().is_none());
        assert!(sync_folder(&folder.path().join("none")).is_err());
    }
}
