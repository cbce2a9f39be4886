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

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        env, fs,
        io::{Read, Write, pipe},
        path::Path,
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// The variable that has a test process hold the lock of a file.
    const HELD: &str = "FEDPIPE_TEST_HELD";

    /// Another process that holds a lock. Dropping it ends the process.
    pub(crate) struct Holder(Child);

    impl Holder {
        /// Starts a process that holds the lock of the file at `path`.
        pub(crate) fn of(path: &Path) -> Self {
            let (mut held, reports) = pipe().unwrap();
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", "disk::lock::tests::another_process_holds_a_lock", "--nocapture"]);
            let spawned = command.env(HELD, path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(reports).spawn();
            drop(command);
            let holder = Self(spawned.unwrap());
            held.read_exact(&mut [0]).expect("the process holds the lock");
            holder
        }

        pub(crate) fn number(&self) -> i32 {
            self.0.id() as i32
        }
    }

    impl Drop for Holder {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Holds the lock until standard input ends, in a process that [`Holder::of`] started; a test run does nothing.
    #[test]
    fn another_process_holds_a_lock() {
        let Some(path) = env::var_os(HELD) else { return };
        let file = File::options().write(true).open(path).unwrap();
        assert!(matches!(take(&file), Taken::Held));
        std::io::stderr().write_all(b"x").unwrap();
        let _ = std::io::stdin().read(&mut [0]);
    }

    #[test]
    fn a_lock_has_one_holder_and_ends_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "").unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(holder(&file).unwrap(), None);
        let other = Holder::of(&path);
        assert!(matches!(take(&file), Taken::ByAnother));
        assert_eq!(holder(&file).unwrap(), Some(other.number()));
        drop(other);
        assert_eq!(holder(&file).unwrap(), None, "a killed process holds no lock");
        assert!(matches!(take(&file), Taken::Held));
    }

    #[test]
    fn a_file_that_cannot_be_locked_is_told_from_one_that_is_held() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lock"), "").unwrap();
        // A write lock needs a file that is open for writing.
        let file = File::open(folder.path().join("lock")).unwrap();
        let taken = take(&file);
        assert!(matches!(&taken, Taken::Refused(error) if error.raw_os_error() == Some(libc::EBADF)), "{taken:?}");
    }
}
