//! The host's side of one client's pipes: reads and writes that give up on a deadline, on the client's death and on a
//! wake-up, and that drain the client's log meanwhile.
//!
//! Nothing here blocks but [`Link::wait`]: a client that stopped reading must not block the thread that writes to it.
//! Every read and write spends the time that [`Link::allow`] gave last. Only an idle client is watched without an end.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::EventFd,
};

use crate::process::log::ClientLog;

/// Why a read or write was given up, as the source of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GaveUp {
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The client's process ended, and its pipe holds nothing more.
    #[error("the process ended")]
    Died,
    /// The host wants its thread back.
    #[error("the host ends")]
    Woken,
}

impl From<GaveUp> for io::Error {
    fn from(reason: GaveUp) -> Self {
        io::Error::other(reason)
    }
}

/// Whether an error means that a read or write was given up.
pub(crate) fn gave_up(error: &io::Error) -> Option<GaveUp> {
    error.get_ref()?.downcast_ref::<GaveUp>().copied()
}

/// What [`Link::wait`] waits for, besides a death, a wake-up and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Readable,
    Writable,
    /// A wake-up with an order, however long it takes. An idle client has nothing to say: what its pipe holds is an end or
    /// a breach.
    Order,
    /// The death alone.
    Death,
}

/// What has something.
struct Ready {
    pipe: bool,
    died: bool,
    woken: bool,
    log: bool,
}

pub(crate) struct Link {
    pub(crate) to: File,
    pub(crate) from: File,
    pub(crate) pidfd: Arc<OwnedFd>,
    /// Closed when the client's standard output and error are.
    pub(crate) log_pipe: Option<File>,
    pub(crate) log: ClientLog,
    pub(crate) wake: Arc<EventFd>,
    /// Set before a wake-up that ends the conversation; any other wake-up announces an order.
    pub(crate) dismissed: Arc<AtomicBool>,
    pub(crate) time: Allowance,
    pub(crate) dead: bool,
    /// A valid `hello` has been read.
    pub(crate) greeted: bool,
}

/// The time that a client has left. A gap between two looks that is longer than a wait at once was not the client's: the
/// host was stopped, frozen or suspended meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    left: Duration,
    looked: Instant,
}

/// The longest wait at once.
const SLICE: Duration = Duration::from_secs(1);

impl Allowance {
    pub(crate) fn new(time: Duration) -> Self {
        Self { left: time, looked: Instant::now() }
    }

    /// Takes the time since the last look, or the longest wait at once where that is less.
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

    /// Returns the longest wait at once, or the time that is left where that is less.
    pub(crate) fn timeout(&self) -> PollTimeout {
        let slice = self.left.min(SLICE);
        // Rounded up, so that it does not spin through the last millisecond.
        let wait = if slice.is_zero() { slice } else { slice + Duration::from_millis(1) };
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
    }
}

/// Returns `true` if the process has ended, whoever has read of it and whether it was reaped.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

impl Link {
    /// Gives the client `time` for what comes next.
    pub(crate) fn allow(&mut self, time: Duration) {
        self.time = Allowance::new(time);
    }

    /// To a client that is no process: what it reads and what it has said.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn to_nobody(to: File, from: File) -> Self {
        use rustix::process::{PidfdFlags, getpid, pidfd_open};
        Self {
            to,
            from,
            pidfd: Arc::new(pidfd_open(getpid(), PidfdFlags::empty()).expect("this process lives")),
            log_pipe: None,
            log: ClientLog::new("/nonexistent/000.log".into()),
            wake: Arc::new(EventFd::new().expect("an event")),
            dismissed: Arc::default(),
            time: Allowance::new(Duration::ZERO),
            dead: false,
            greeted: false,
        }
    }

    /// Waits for what is wanted; also returns when an idle client's pipe has something.
    ///
    /// # Errors
    /// [`GaveUp`], and those of `poll`.
    pub(crate) fn wait(&mut self, want: Want) -> io::Result<()> {
        loop {
            let Ready { pipe, died, woken, log } = self.poll(want)?;
            if log {
                self.drain_log();
            }
            self.dead |= died;
            if self.dead && want == Want::Death {
                return Ok(());
            }
            if woken {
                let _ = self.wake.read();
                if want == Want::Order || (self.dismissed.load(Ordering::Acquire) && want != Want::Death) {
                    return Err(GaveUp::Woken.into());
                }
            }
            // Before the time: what the pipe holds was sent while the client had some. One that trickles a byte at a time is
            // late at the first byte that is not there.
            if pipe {
                return Ok(());
            }
            if self.time.is_over() && want != Want::Order {
                return Err(GaveUp::Deadline.into());
            }
            // After a death the pipe may still hold a whole reply, and a grandchild may hold it open: what is there
            // counts, and nobody waits for more.
            if self.dead {
                return Err(GaveUp::Died.into());
            }
        }
    }

    /// Takes what the log pipe holds now: as much as fits a pipe, since a client may write faster than it is read.
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

    /// Waits until one of them has something or the longest wait at once is over.
    fn poll(&mut self, want: Want) -> io::Result<Ready> {
        let pipe: Option<(BorrowedFd<'_>, _)> = match want {
            Want::Readable | Want::Order => Some((self.from.as_fd(), PollFlags::POLLIN)),
            Want::Writable => Some((self.to.as_fd(), PollFlags::POLLOUT)),
            Want::Death => None,
        };
        // A dead process is not waited for again, only polled past.
        let death = if self.dead { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut polled =
            vec![PollFd::new(self.pidfd.as_fd(), death), PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        polled.extend(pipe.map(|(pipe, flags)| PollFd::new(pipe, flags)));
        polled.extend(self.log_pipe.as_ref().map(|log| PollFd::new(log.as_fd(), PollFlags::POLLIN)));
        let timeout = match want {
            _ if self.dead => PollTimeout::ZERO,
            Want::Order => PollTimeout::NONE,
            _ => self.time.timeout(),
        };
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut has = polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        let (died, woken) = (has.next() == Some(true), has.next() == Some(true));
        let pipe = pipe.is_some() && has.next() == Some(true);
        let log = has.next() == Some(true);
        self.time.pass();
        Ok(Ready { pipe, died, woken, log })
    }
}

impl Read for Link {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.from.read(out) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(Want::Readable)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.to.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(Want::Writable)?,
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
    use std::os::fd::OwnedFd;

    use super::*;

    fn pipe() -> (File, File) {
        std::io::pipe().map(|(from, to)| (OwnedFd::from(from).into(), OwnedFd::from(to).into())).unwrap()
    }

    /// A link, and the client's writing end.
    fn link() -> (Link, File) {
        let (from, says) = pipe();
        nix::fcntl::fcntl(&from, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        (Link::to_nobody(pipe().1, from), says)
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
    fn what_a_client_sent_in_time_counts_and_a_byte_at_a_time_is_late() {
        let (mut link, mut says) = link();
        link.allow(Duration::ZERO);
        says.write_all(b"ab").unwrap();
        let mut bytes = [0; 3];
        link.read_exact(&mut bytes[..2]).unwrap();
        let error = link.read_exact(&mut bytes).unwrap_err();
        assert_eq!(gave_up(&error), Some(GaveUp::Deadline));
        assert_eq!(&bytes[..2], b"ab");
    }
}
