//! A Unix socket that is waited on with an end in sight: a stop, or a peer that is silent for too long.

use std::{
    fs,
    io::{self, Read, Write},
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
    process::{
        pipes::Allowance,
        start_error::{StartCall, failed},
    },
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
    /// The time that the peer has left for the message that is on its way, or to begin one.
    time: Allowance,
    /// `true` from a message's first byte on.
    has_begun: bool,
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

    /// The next connection, on which a peer has `patience` to begin a message, and for the whole of each message.
    ///
    /// # Errors
    /// Those of the socket, and [`Stopped`].
    pub(crate) fn accept(&self, patience: Duration) -> io::Result<Connection<'_>> {
        wait((self.listener.as_fd(), PollFlags::POLLIN), &self.stopped, None)?;
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        let time = Allowance::new(patience);
        Ok(Connection { stream, stopped: &self.stopped, patience, time, has_begun: false })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Connection<'_> {
    /// Begins to read or to write a message.
    pub(crate) fn next_message(&mut self) {
        self.time = Allowance::new(self.patience);
        self.has_begun = false;
    }

    /// Takes note that a part of the message has passed; from the first part on, the time is for the rest.
    fn passed(&mut self) {
        if !self.has_begun {
            self.time = Allowance::new(self.patience);
            self.has_begun = true;
        }
    }

    fn wait(&mut self, flags: PollFlags) -> io::Result<()> {
        wait((self.stream.as_fd(), flags), self.stopped, Some(&mut self.time)).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => {
                let what = if self.has_begun { "for a message" } else { "to begin a message" };
                let seconds = self.patience.as_secs_f64();
                io::Error::new(error.kind(), format!("the peer took more than {seconds} s {what} (--client-timeout)"))
            }
            _ => error,
        })
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::POLLIN)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.inspect(|_| self.passed()),
            }
        }
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.inspect(|_| self.passed()),
            }
        }
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

/// Waits until a descriptor is ready, for as long as the time allows.
fn wait(
    (fd, flags): (BorrowedFd<'_>, PollFlags),
    stopped: &EventFd,
    mut time: Option<&mut Allowance>,
) -> io::Result<()> {
    let mut polled = [PollFd::new(stopped.as_fd(), PollFlags::POLLIN), PollFd::new(fd, flags)];
    loop {
        let timeout = time.as_ref().map_or(PollTimeout::NONE, |time| time.timeout());
        let ready = poll(&mut polled, timeout);
        time.iter_mut().for_each(|time| time.pass());
        match ready {
            Ok(0) if time.as_ref().is_some_and(|time| time.is_over()) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) if polled[0].any() == Some(true) => return Err(io::Error::other(Stopped)),
            Ok(_) => return Ok(()),
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

    /// A connection of a peer, which has an hour for a message.
    fn connected<R>(test: impl FnOnce(Connection<'_>, UnixStream) -> R) -> R {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::bind(&path).unwrap();
        let peer = UnixStream::connect(&path).unwrap();
        test(listener.accept(Duration::from_secs(3600)).unwrap(), peer)
    }

    #[test]
    fn a_peer_has_one_time_for_the_whole_of_a_message_that_it_sends() {
        connected(|mut connection, mut peer| {
            let mut byte = [0];
            connection.next_message();
            peer.write_all(b"abc").unwrap();
            // To begin a message is not yet to send it.
            connection.time = Allowance::new(Duration::ZERO);
            connection.read_exact(&mut byte).unwrap();
            assert!(!connection.time.is_over());
            connection.time = Allowance::new(Duration::ZERO);
            // Each byte that is there was sent in time, and gives no more of it.
            connection.read_exact(&mut byte).unwrap();
            connection.read_exact(&mut byte).unwrap();
            let late = connection.read_exact(&mut byte).unwrap_err();
            assert_eq!(late.to_string(), "the peer took more than 3600 s for a message (--client-timeout)");
            connection.next_message();
            peer.write_all(b"d").unwrap();
            connection.read_exact(&mut byte).unwrap();
        });
    }

    #[test]
    fn a_peer_has_one_time_for_the_whole_of_a_message_that_it_takes() {
        connected(|mut connection, mut peer| {
            connection.next_message();
            connection.write_all(b"a").unwrap();
            connection.time = Allowance::new(Duration::ZERO);
            let late = connection.write_all(&vec![0; 16 << 20]).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            // What it takes gives it no more time.
            peer.read_exact(&mut vec![0; 1 << 16]).unwrap();
            let late = connection.write_all(&vec![0; 16 << 20]).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        });
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
