//! File systems that refuse what the data do not need: a lock, a sync, a mode.

use std::fs::File;
use std::io;
use std::path::Path;

/// The error numbers of a file system, a mount or a container that has no such operation, or not for this user.
const REFUSALS: [i32; 7] = [
    libc::EINVAL,
    libc::EPERM,
    libc::EACCES,
    libc::EROFS,
    libc::ENOSYS,
    libc::EOPNOTSUPP,
    // The answer of NFS without a lock daemon.
    libc::ENOLCK,
];

/// Returns the error of a lock, a sync or a change of mode that was refused: what was written is there all the same.
///
/// # Errors
/// Those that say more than a refusal, such as a full or failing disk.
pub fn refusal<T>(done: io::Result<T>) -> io::Result<Option<io::Error>> {
    match done {
        Ok(_) => Ok(None),
        Err(error) if error.raw_os_error().is_some_and(|number| REFUSALS.contains(&number)) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Makes a rename in `folder` last through a power cut; returns the error where that is refused.
///
/// # Errors
/// As for [`refusal`].
pub fn sync_folder(folder: &Path) -> io::Result<Option<io::Error>> {
    refusal(File::open(folder).and_then(|folder| folder.sync_all()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_costs_nothing_and_a_failure_is_one() {
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
    fn a_folder_is_synced_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sync_folder(folder.path()).unwrap().is_none());
        assert!(sync_folder(&folder.path().join("none")).is_err());
    }
}
