//! A Unix socket whose every wait ends: at a stop, or when the peer is silent for too long.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use fedpipe_data::FileCause;
use nix::poll::{PollFlags, PollTimeout};

use crate::{
    error::{Error, Result},
    process::{
        pipes::Allowance,
        poll::{Polled, wait_for},
        wakeup::Wakeup,
    },
};

/// The most bytes of a path in a socket's address, which ends in a zero.
const LONGEST: usize = 107;

/// A listening socket. Its file is removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    path: PathBuf,
    listener: UnixListener,
}

/// A connection to a [`Listener`].
#[derive(Debug)]
pub(crate) struct Connection<'a> {
    stream: UnixStream,
    stop: &'a Wakeup,
    patience: Duration,
    /// The time that the peer has left to begin a message, or for the rest of it.
    time: Allowance,
    /// `true` from the first byte of a message on.
    has_begun: bool,
}

impl Listener {
    /// Listens at `path`, for this user alone. A socket that a killed process left there is replaced.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] for a path that is in use or that no socket can have.
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
            // The process that listened here was killed before it could remove the file.
            let _ = fs::remove_file(path);
        }
        match UnixListener::bind(path).and_then(|listener| {
            let listener = Self { path: path.to_owned(), listener };
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map(|()| listener)
        }) {
            Ok(listener) => Ok(listener),
            Err(error) => {
                let remedy = FileCause::of(&error).remedy("give another --socket");
                refuse(format!("cannot be listened at: {error}{remedy}"))
            }
        }
    }

    /// Waits for the next connection, on which a peer has `patience` to begin a message, and again for the whole of it.
    /// `stop` ends all waits.
    ///
    /// # Errors
    /// Returns the errors of the socket, and [`Stopped`].
    pub(crate) fn accept<'a>(&self, patience: Duration, stop: &'a Wakeup) -> io::Result<Connection<'a>> {
        wait((self.listener.as_fd(), PollFlags::POLLIN), stop, None)?;
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        let time = Allowance::new(patience);
        Ok(Connection { stream, stop, patience, time, has_begun: false })
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

    /// Notes that a part of the message has passed. The first part restarts the time, which is then for the rest.
    fn passed(&mut self) {
        if !self.has_begun {
            self.time = Allowance::new(self.patience);
            self.has_begun = true;
        }
    }

    fn wait(&mut self, flags: PollFlags) -> io::Result<()> {
        wait((self.stream.as_fd(), flags), self.stop, Some(&mut self.time)).map_err(|error| match error.kind() {
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

/// The reason why a wait ended early, as the source of an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(crate) struct Stopped;

/// Returns `true` if a stop is the reason of an error.
pub(crate) fn is_stop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<Stopped>())
}

/// Waits until a descriptor is ready, for as long as the time allows.
fn wait(polled: Polled<'_>, stop: &Wakeup, mut time: Option<&mut Allowance>) -> io::Result<()> {
    loop {
        let timeout = time.as_ref().map_or(PollTimeout::NONE, |time| time.timeout());
        let ready = wait_for([Some((stop.as_fd(), PollFlags::POLLIN)), Some(polled)], timeout);
        time.iter_mut().for_each(|time| time.pass());
        match ready? {
            [true, _] => return Err(io::Error::other(Stopped)),
            [_, true] => return Ok(()),
            _ if time.as_ref().is_some_and(|time| time.is_over()) => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_with_the_reason() {
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

    /// Runs a test with a connection, whose peer has an hour for a message.
    fn connected<R>(test: impl FnOnce(Connection<'_>, UnixStream) -> R) -> R {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = Listener::bind(&path).unwrap();
        let peer = UnixStream::connect(&path).unwrap();
        let stop = Wakeup::new().unwrap();
        test(listener.accept(Duration::from_secs(3600), &stop).unwrap(), peer)
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
            // Bytes that the peer takes give it no more time.
            peer.read_exact(&mut vec![0; 1 << 16]).unwrap();
            let late = connection.write_all(&vec![0; 16 << 20]).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn the_socket_of_a_killed_process_is_replaced_and_none_remains() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        // A socket that is closed without being removed is what a SIGKILL leaves.
        drop(UnixListener::bind(&path).unwrap());
        // A process that another test starts holds a copy of the socket from its fork to its exec.
        while UnixStream::connect(&path).is_ok() {
            std::thread::yield_now();
        }
        assert!(path.exists());
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }
}
