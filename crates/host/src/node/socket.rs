//! A Unix socket that is waited on with an end in sight: a stop, or a peer that is silent for too long.

use std::{
    fs, io,
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fedpipe_data::FileCause;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use crate::{
    error::{Error, Result},
    process::start_error::{StartCall, failed},
};

/// The longest path that fits a socket's address, which ends in a zero.
const LONGEST: usize = 107;

/// A listening socket; its file goes when this does.
#[derive(Debug)]
pub(crate) struct Listener {
    path: PathBuf,
    listener: UnixListener,
    /// Readable from the first stop on.
    pub(crate) stopped: Arc<EventFd>,
}

/// A connection to a [`Listener`].
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    stream: UnixStream,
    stopped: &'a EventFd,
    patience: Duration,
}

impl Listener {
    /// Listens at `path`, for this user alone; the file of a process that is gone gives way.
    ///
    /// # Errors
    /// [`Error::Usage`] for a path that is taken or cannot be one of a socket.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let refuse = |why: String| Err(Error::Usage(format!("{} {why}", path.display())));
        let length = path.as_os_str().len();
        if length > LONGEST {
            return refuse(format!("has {length} bytes, a socket's path at most {LONGEST}; give a shorter --socket"));
        }
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return refuse("is there and is no socket; give another --socket".into());
            }
            if UnixStream::connect(path).is_ok() {
                return refuse("is in use by another process; stop that one or give another --socket".into());
            }
            // Whoever had it did not live to remove it.
            let _ = fs::remove_file(path);
        }
        let stopped = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let stopped = stopped.map_err(failed(StartCall::Descriptor));
        let stopped = Arc::new(stopped.map_err(|error| Error::not_started("the node", &error))?);
        match UnixListener::bind(path).and_then(|listener| {
            let listener = Self { path: path.to_owned(), listener, stopped };
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map(|()| listener)
        }) {
            Ok(listener) => Ok(listener),
            Err(error) => {
                let remedy = FileCause::of(&error).remedy("give another --socket");
                refuse(format!("cannot be listened at: {error}{remedy}"))
            }
        }
    }

    /// The next connection, on which no read or write waits longer than `patience`.
    ///
    /// # Errors
    /// Those of the socket, and [`Stopped`].
    pub(crate) fn accept(&self, patience: Duration) -> io::Result<Connection<'_>> {
        wait(self.listener.as_fd(), &self.stopped, None)?;
        let (stream, _) = self.listener.accept()?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Connection { stream, stopped: &self.stopped, patience })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        wait(self.stream.as_fd(), self.stopped, Some(self.patience))?;
        self.stream.read(out)
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a wait was given up, as the source of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// Whether an error means that a wait was given up for a stop.
pub(crate) fn is_stop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<Stopped>())
}

fn wait(fd: BorrowedFd<'_>, stopped: &EventFd, patience: Option<Duration>) -> io::Result<()> {
    let mut polled = [PollFd::new(stopped.as_fd(), PollFlags::POLLIN), PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = patience.map_or(PollTimeout::NONE, |time| PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
    loop {
        match poll(&mut polled, timeout) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if polled[0].any() == Some(true) => return Err(io::Error::other(Stopped)),
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_cannot_be_had_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Listener::bind(path).unwrap_err().to_string();
        let (file, taken) = (folder.path().join("file"), folder.path().join("taken"));
        fs::write(&file, "precious").unwrap();
        assert!(refused(&file).ends_with("is there and is no socket; give another --socket"));
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        let _listener = Listener::bind(&taken).unwrap();
        assert!(refused(&taken).contains("is in use by another process"));
        assert!(taken.exists());
        let long = folder.path().join("x".repeat(120));
        assert!(refused(&long).contains("bytes, a socket's path at most 107; give a shorter --socket"));
        assert!(refused(&folder.path().join("none/s")).contains("No such file or directory"));
    }

    #[test]
    fn what_a_killed_process_left_gives_way_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // A socket that is closed without being removed is what a SIGKILL leaves.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }
}
