//! The check of a folder: whether a run can write there, lock files there, and load a model from there.

use std::{io, path::Path};

use fedpipe_data::refusal;

use super::{
    lock::{Taken, take},
    noexec,
};

/// The outcome of [`check_folder`] for a folder that can be written.
#[derive(Debug)]
pub struct FolderCheck {
    /// The reason why no model in the folder can be loaded.
    pub noexec: Option<String>,
    /// The error with which the file system refuses locks.
    pub without_locks: Option<io::Error>,
}

/// Writes a temporary file into `folder` and locks it in both ways that runs and the cache use.
///
/// # Errors
/// The folder cannot be written.
pub fn check_folder(folder: &Path) -> io::Result<FolderCheck> {
    let file = tempfile::tempfile_in(folder)?;
    let of_run = match take(&file) {
        Taken::Refused(error) => Some(error),
        Taken::Held | Taken::ByAnother => None,
    };
    let of_cache = refusal(file.try_lock().map_err(io::Error::from))?;
    Ok(FolderCheck { noexec: noexec(folder), without_locks: of_run.or(of_cache) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_in_order_and_a_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let found = check_folder(folder.path()).unwrap();
        assert!(found.without_locks.is_none(), "{found:?}");
        assert_eq!(found.noexec, noexec(folder.path()));
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let missing = check_folder(&folder.path().join("absent")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        // The kernel's own file systems take no file.
        assert!(check_folder(Path::new("/proc")).is_err());
    }
}
