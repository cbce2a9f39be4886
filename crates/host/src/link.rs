//! The host's side of one client's pipes: reads and writes that give up on a deadline, on the client's death and on a
//! wake-up, and that drain the client's log meanwhile.
//!
//! Nothing here blocks but [`Link::wait`]: a client that stopped reading must not block the thread that writes to it.

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

use crate::log::ClientLog;

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
    /// A wake-up with an order. An idle client has nothing to say: what its pipe holds is an end or a breach.
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
    pub(crate) pidfd: OwnedFd,
    /// Closed when the client's standard output and error are.
    pub(crate) log_pipe: Option<File>,
    pub(crate) log: ClientLog,
    pub(crate) wake: Arc<EventFd>,
    /// Set before a wake-up that ends the conversation; any other wake-up announces an order.
    pub(crate) dismissed: Arc<AtomicBool>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) dead: bool,
}

impl Link {
    /// To a client that is no process: what it reads and what it has said.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn to_nobody(to: File, from: File) -> Self {
        use rustix::process::{PidfdFlags, getpid, pidfd_open};
        Self {
            to,
            from,
            pidfd: pidfd_open(getpid(), PidfdFlags::empty()).expect("this process lives"),
            log_pipe: None,
            log: ClientLog::new("/nonexistent/000.log".into()),
            wake: Arc::new(EventFd::new().expect("an event")),
            dismissed: Arc::default(),
            deadline: None,
            dead: false,
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
            // Before the pipe: a client that trickles a byte at a time is late all the same.
            if self.remaining() == Some(Duration::ZERO) {
                return Err(GaveUp::Deadline.into());
            }
            if pipe {
                return Ok(());
            }
            // After a death the pipe may still hold a whole reply, and a grandchild may hold it open: what is there
            // counts, and nobody waits for more.
            if self.dead {
                return Err(GaveUp::Died.into());
            }
        }
    }

    /// Takes what the log pipe holds now.
    pub(crate) fn drain_log(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(pipe) = &mut self.log_pipe {
            match pipe.read(&mut bytes) {
                Ok(0) => self.log_pipe = None,
                Ok(n) => self.log.take(&bytes[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until one of them has something or the deadline passes.
    fn poll(&self, want: Want) -> io::Result<Ready> {
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
        match poll(&mut polled, self.timeout()) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut has = polled.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        let (died, woken) = (has.next() == Some(true), has.next() == Some(true));
        let pipe = pipe.is_some() && has.next() == Some(true);
        Ok(Ready { pipe, died, woken, log: has.next() == Some(true) })
    }

    fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn timeout(&self) -> PollTimeout {
        if self.dead {
            return PollTimeout::ZERO;
        }
        match self.remaining() {
            None => PollTimeout::NONE,
            // Rounded up, so that it does not spin through the last millisecond.
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
        }
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
