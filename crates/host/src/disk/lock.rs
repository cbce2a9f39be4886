//! The lock that says which host owns a run directory. It ends with its process.
//!
//! It is a record lock, and not `flock` (as of `File::lock`), which belongs to the open file. A client between fork and
//! exec shares that file, so that a `flock` would outlive a killed host for a moment.

use std::{fs::File, io};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

/// The outcome of taking a lock.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is held until the file is closed.
    Held,
    /// Another process holds it.
    ByAnother,
    /// The file system has no locks, as some NFS and Lustre file systems.
    Refused(io::Error),
}

/// Takes the lock unless another process holds it.
pub(crate) fn take(file: &File) -> Taken {
    match fcntl(file, FcntlArg::F_SETLK(&whole_file())) {
        Ok(_) => Taken::Held,
        Err(Errno::EACCES | Errno::EAGAIN) => Taken::ByAnother,
        Err(error) => Taken::Refused(error.into()),
    }
}

/// Returns the process that holds the lock.
pub(crate) fn holder(file: &File) -> io::Result<Option<i32>> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid))
}

fn whole_file() -> libc::flock {
    let (l_type, l_whence) = (libc::F_WRLCK as libc::c_short, libc::SEEK_SET as libc::c_short);
    libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 }
}
