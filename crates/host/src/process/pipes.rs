//! The host's ends of the pipes of one peer. Reads and writes end at a deadline, at the peer's exit and at a wake-up.
//! They drain the peer's log meanwhile.
//!
//! Only [`Link::wait`] blocks: a peer that stopped reading must not block the thread that writes to it. Every read and
//! write spends the time that [`Link::allow`] gave last. Only an idle client is watched without a deadline.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::poll::{PollFlags, PollTimeout};

use crate::process::{
    log::ClientLog,
    poll::{wait_for, wait_readable},
    wakeup::Wakeup,
};

/// The reason why a read or write ended early, as the source of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WaitError {
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The peer has exited, and its pipe holds nothing more.
    #[error("the process ended")]
    Exited,
    /// Another thread of the host woke this one.
    #[error("the host ends")]
    Woken,
}

impl From<WaitError> for io::Error {
    fn from(reason: WaitError) -> Self {
        io::Error::other(reason)
    }
}

/// Returns the reason why a read or write ended early, if `error` has one.
pub(crate) fn wait_error(error: &io::Error) -> Option<WaitError> {
    error.get_ref()?.downcast_ref::<WaitError>().copied()
}

/// The event that [`Link::wait`] waits for, besides an exit, a wake-up and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// The peer has written something.
    Readable,
    /// The pipe to the peer has room.
    Writable,
    /// A wake-up, without a deadline. An idle client must not write: if its pipe becomes readable, the client has
    /// closed it or broken the protocol.
    Wakeup,
    /// The exit alone.
    Exit,
}

/// The events of one look at the descriptors.
struct Readiness {
    pipe: bool,
    exited: bool,
    woken: bool,
    log: bool,
}

/// The pipes to a peer.
pub(crate) struct Link {
    /// The pipe to the peer; none once it is closed.
    to: Option<File>,
    from: File,
    /// Readable once the peer has exited.
    exited: Arc<OwnedFd>,
    /// The peer's standard output and error; none once the peer has closed them.
    log_pipe: Option<File>,
    pub(crate) log: ClientLog,
    wakeup: Arc<Wakeup>,
    time: Allowance,
    has_exited: bool,
}

/// The time that a peer has left. The host looks at the clock at least once in each [`SLICE`]. A longer gap is not the
/// peer's: the host was stopped, frozen or suspended meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    left: Duration,
    looked: Instant,
}

/// The longest wait without a look at the clock.
const SLICE: Duration = Duration::from_secs(1);

impl Allowance {
    pub(crate) fn new(time: Duration) -> Self {
        Self { left: time, looked: Instant::now() }
    }

    /// Spends the time since the last look, at most one [`SLICE`].
    pub(crate) fn pass(&mut self) {
        let now = Instant::now();
        let gap = now.saturating_duration_since(self.looked);
        // A wait is rounded up, and its end is late by a little.
        let most = SLICE + SLICE / 10;
        self.left = self.left.saturating_sub(if gap > most { SLICE } else { gap });
        self.looked = now;
    }

    /// Returns `true` if no time is left.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// Returns the timeout of the next wait: the time that is left, at most one [`SLICE`].
    pub(crate) fn timeout(&self) -> PollTimeout {
        let slice = self.left.min(SLICE);
        // Rounded up, since a timeout of zero would spin through the last millisecond.
        let wait = if slice.is_zero() { slice } else { slice + Duration::from_millis(1) };
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }
}

/// Returns `true` if the process has exited, whether or not it was reaped.
pub(crate) fn has_exited(exited: &OwnedFd) -> bool {
    wait_readable(exited.as_fd(), PollTimeout::ZERO).is_ok_and(|has_exited| has_exited)
}

/// The host's ends of the pipes of a peer that was just started, all non-blocking.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) to: File,
    pub(crate) from: File,
    /// Becomes readable when the peer exits, whoever still holds its pipes.
    pub(crate) exited: Arc<OwnedFd>,
    /// The pipe of the standard output and error; none for a peer without them.
    pub(crate) log: Option<File>,
}

impl Link {
    /// Links the host to a peer, which has `time` for its first message.
    pub(crate) fn new(ends: Ends, log: ClientLog, wakeup: Arc<Wakeup>, time: Duration) -> Self {
        let Ends { to, from, exited, log: log_pipe } = ends;
        let time = Allowance::new(time);
        Self { to: Some(to), from, exited, log_pipe, log, wakeup, time, has_exited: false }
    }

    /// Gives the peer `time` for its next message.
    pub(crate) fn allow(&mut self, time: Duration) {
        self.time = Allowance::new(time);
    }

    /// Closes the pipe to the peer.
    pub(crate) fn close(&mut self) {
        self.to = None;
    }

    /// Returns the descriptor that is readable once the peer has exited.
    pub(crate) fn exited(&self) -> &Arc<OwnedFd> {
        &self.exited
    }

    /// Waits for an event. Also returns when the pipe of an idle client has something.
    ///
    /// # Errors
    /// [`WaitError`], and those of `poll`.
    pub(crate) fn wait(&mut self, event: WaitFor) -> io::Result<()> {
        loop {
            // The wake-up of the dismissal may have been cleared together with that of an assignment before it.
            if self.wakeup.is_dismissed() && event != WaitFor::Exit {
                return Err(WaitError::Woken.into());
            }
            let Readiness { pipe, exited, woken, log } = self.poll(event)?;
            if log {
                self.drain_log();
            }
            self.has_exited |= exited;
            if self.has_exited && event == WaitFor::Exit {
                return Ok(());
            }
            if woken {
                self.wakeup.clear();
                if event == WaitFor::Wakeup {
                    return Err(WaitError::Woken.into());
                }
            }
            // The pipe precedes the deadline: its bytes were sent in time. A peer that sends a byte at a time is late
            // once the pipe is empty after the deadline.
            if pipe {
                return Ok(());
            }
            if self.time.is_over() && event != WaitFor::Wakeup {
                return Err(WaitError::Deadline.into());
            }
            // After an exit the pipe may still hold a whole reply, and a grandchild may hold it open. The bytes in the
            // pipe count, and the host waits for no more.
            if self.has_exited {
                return Err(WaitError::Exited.into());
            }
        }
    }

    /// Moves the bytes of the log pipe into the log: at most what a pipe holds, since a client may write without end.
    pub(crate) fn drain_log(&mut self) {
        const READS: usize = 32;
        let mut bytes = [0; 4096];
        for _ in 0..READS {
            let Some(pipe) = &mut self.log_pipe else { return };
            match pipe.read(&mut bytes) {
                Ok(0) => self.log_pipe = None,
                Ok(n) => self.log.take(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until a descriptor is ready, for at most one [`SLICE`] unless there is no deadline.
    fn poll(&mut self, event: WaitFor) -> io::Result<Readiness> {
        let pipe = match event {
            WaitFor::Readable | WaitFor::Wakeup => Some((self.from.as_fd(), PollFlags::POLLIN)),
            WaitFor::Writable => self.to.as_ref().map(|to| (to.as_fd(), PollFlags::POLLOUT)),
            WaitFor::Exit => None,
        };
        let timeout = match event {
            // The rest is in the pipes already.
            _ if self.has_exited => PollTimeout::ZERO,
            WaitFor::Wakeup => PollTimeout::NONE,
            _ => self.time.timeout(),
        };
        let exited = (!self.has_exited).then_some((self.exited.as_fd(), PollFlags::POLLIN));
        let wakeup = Some((self.wakeup.as_fd(), PollFlags::POLLIN));
        let log = self.log_pipe.as_ref().map(|log| (log.as_fd(), PollFlags::POLLIN));
        let [exited, woken, pipe, log] = wait_for([exited, wakeup, pipe, log], timeout)?;
        self.time.pass();
        Ok(Readiness { pipe, exited, woken, log })
    }
}

impl Read for Link {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.from.read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(WaitFor::Readable)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let Some(to) = &mut self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
            match to.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(WaitFor::Writable)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    /// A link to a peer that lives, and the peer's writing end.
    fn link() -> (Link, io::PipeWriter) {
        let (from, peer) = io::pipe().unwrap();
        fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let (exited, alive) = io::pipe().unwrap();
        // It lives as long as this process.
        std::mem::forget(alive);
        let to = File::options().write(true).open("/dev/null").unwrap();
        let exited = Arc::new(OwnedFd::from(exited));
        let ends = Ends { to, from: OwnedFd::from(from).into(), exited, log: None };
        let log = ClientLog::new("/nonexistent/000.log".into());
        (Link::new(ends, log, Arc::new(Wakeup::new().unwrap()), Duration::ZERO), peer)
    }

    #[test]
    fn a_host_that_stood_still_takes_no_time_of_a_client() {
        let hour = Duration::from_secs(3600);
        let mut time = Allowance::new(hour);
        time.looked -= Duration::from_secs(600);
        time.pass();
        assert_eq!(time.left, hour - SLICE);
        time.looked -= SLICE;
        time.pass();
        assert!(time.left <= hour - 2 * SLICE && time.left > hour - 3 * SLICE, "{:?}", time.left);
    }

    #[test]
    fn bytes_that_were_sent_in_time_count_and_the_first_missing_one_is_late() {
        let (mut link, mut peer) = link();
        link.allow(Duration::ZERO);
        peer.write_all(b"ab").unwrap();
        let mut bytes = [0; 3];
        link.read_exact(&mut bytes[..2]).unwrap();
        let error = link.read_exact(&mut bytes).unwrap_err();
        assert_eq!(wait_error(&error), Some(WaitError::Deadline));
        assert_eq!(&bytes[..2], b"ab");
    }

    #[test]
    fn a_wake_up_ends_an_idle_wait_and_a_dismissal_ends_every_wait() {
        let (mut link, _peer) = link();
        link.wakeup.wake();
        assert_eq!(wait_error(&link.wait(WaitFor::Wakeup).unwrap_err()), Some(WaitError::Woken));
        // A wake-up announces work, and a read continues until its deadline.
        link.wakeup.wake();
        assert_eq!(wait_error(&link.wait(WaitFor::Readable).unwrap_err()), Some(WaitError::Deadline));
        link.allow(Duration::from_secs(3600));
        link.wakeup.dismiss();
        assert_eq!(wait_error(&link.wait(WaitFor::Readable).unwrap_err()), Some(WaitError::Woken));
    }

    /// The thread finds an assignment, and works on it: one look at the descriptor has cleared both wake-ups.
    #[test]
    fn a_dismissal_that_comes_with_an_assignment_is_not_missed() {
        let (mut link, _peer) = link();
        link.wakeup.wake();
        link.wakeup.dismiss();
        link.wakeup.clear();
        link.allow(Duration::from_secs(3600));
        for event in [WaitFor::Readable, WaitFor::Writable, WaitFor::Wakeup] {
            assert_eq!(wait_error(&link.wait(event).unwrap_err()), Some(WaitError::Woken));
        }
    }
}
