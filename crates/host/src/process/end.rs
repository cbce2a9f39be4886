//! The end of a conversation and the exit of the process: the cause, and the resources that remain.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::Duration,
};

use fedpipe_protocol::{FrameError, Isolation};
use fedpipe_record::{
    cause::Cause,
    crash::{Consequence, Crash},
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, SysconfVar, sysconf},
};

use crate::process::{
    container,
    pipes::{WaitError, wait_error},
};

/// The failure of a process, also of one that could not be started: its cause, last words and use of time.
#[derive(Debug, Clone)]
pub(crate) struct ProcessExit {
    pub(crate) cause: Cause,
    pub(crate) last_words: Vec<String>,
    pub(crate) log: Option<PathBuf>,
    /// The time since the process was started.
    pub(crate) after: Duration,
    /// The CPU time that the process used.
    pub(crate) cpu_time: Duration,
    /// The process sent a valid `hello` before it ended.
    pub(crate) greeted: bool,
}

impl ProcessExit {
    /// Returns the same exit, with the limit as its cause if a limit ended the process.
    pub(crate) fn by_limit(self, isolation: &Isolation) -> Self {
        let cause = match (&self.cause, isolation.memory_limit, isolation.cpu_seconds) {
            // Rust prints this line when an allocation fails; SIGABRT alone has many causes.
            (Cause::Signal { number: libc::SIGABRT }, Some(bytes), _)
                if self.last_words.iter().any(|line| line.starts_with("memory allocation of ")) =>
            {
                Cause::MemoryLimit { bytes }
            }
            (Cause::Signal { number: libc::SIGXCPU }, _, Some(seconds)) => Cause::CpuLimit { seconds },
            // The kernel sends SIGKILL a second later to a model that ignores SIGXCPU.
            (Cause::Signal { number: libc::SIGKILL }, _, Some(seconds)) if self.cpu_time.as_secs() >= seconds => {
                Cause::CpuLimit { seconds }
            }
            _ => return self,
        };
        Self { cause, ..self }
    }

    /// Returns the record of the exit as a crash with the consequence `then`.
    pub(crate) fn crash(&self, then: Consequence) -> Crash {
        let Self { cause, last_words, log, after, .. } = self.clone();
        Crash { cause, after_seconds: after.into(), then, last_words, log }
    }

    /// Returns the exit of a process that could not be started.
    pub(crate) fn at_start(error: &impl ToString) -> Self {
        Self {
            cause: Cause::System { message: error.to_string() },
            last_words: Vec::new(),
            log: None,
            after: Duration::ZERO,
            cpu_time: Duration::ZERO,
            greeted: false,
        }
    }
}

/// The reason why a conversation ended.
#[derive(Debug)]
pub(crate) enum ConversationEnd {
    /// The host has no more work.
    Dismissed,
    /// A message could not be read or written.
    Failed(FrameError),
    /// The peer said something that it may not.
    Unfit(Cause),
}

impl ConversationEnd {
    /// Returns the end of a conversation whose peer broke the protocol.
    pub(crate) fn breach(message: impl AsRef<str>) -> Self {
        Self::Unfit(Cause::protocol(message))
    }
}

impl From<FrameError> for ConversationEnd {
    fn from(error: FrameError) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for ConversationEnd {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The consequence of the end of a conversation for the process.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    /// The process may exit by itself; nothing is reported.
    LetGo,
    /// The process is killed; nothing is reported.
    Kill,
    /// The process is killed, and this cause is reported.
    Blame(Cause),
    /// The pipe ended or broke, so that the exit of the process is the cause.
    AwaitExit,
}

impl Ending {
    /// Decides what follows from `end`; the peer had `timeout` for each message.
    pub(super) fn of(end: ConversationEnd, timeout: Duration) -> Self {
        match end {
            ConversationEnd::Dismissed => Self::LetGo,
            ConversationEnd::Unfit(cause) => Self::Blame(cause),
            ConversationEnd::Failed(FrameError::Malformed(message)) => Self::Blame(Cause::protocol(message)),
            ConversationEnd::Failed(FrameError::Io(error)) => match wait_error(&error) {
                Some(WaitError::Woken) => Self::Kill,
                Some(WaitError::Deadline) => Self::Blame(Cause::deadline(timeout)),
                Some(WaitError::Exited) | None => Self::AwaitExit,
            },
            ConversationEnd::Failed(FrameError::End) => Self::AwaitExit,
        }
    }
}

/// Returns the cause of an exit that the host did not bring about. `kills_before` is the number of processes that the
/// container had killed for want of memory before this one started.
pub(super) fn exit_cause(status: io::Result<ExitStatus>, kills_before: u64) -> Cause {
    match status {
        Ok(status) if status.signal() == Some(libc::SIGKILL) && container::kills() > kills_before => {
            Cause::OutOfMemory { bytes: container::memory_limit() }
        }
        Ok(status) => Cause::of_exit(status),
        Err(error) => Cause::System { message: error.to_string() },
    }
}

/// A started peer: a child process, or in a unit test a thread. Dropping it kills and reaps it.
pub(crate) trait Running: Send {
    /// Returns the number of the process; none for a thread.
    fn pid(&self) -> Option<Pid>;

    /// Returns the CPU time used so far, also of a process that has exited and was not reaped.
    fn cpu_time(&self) -> Duration;

    /// Kills the peer with its process group, reaps it, and returns its exit status. A second call returns the same.
    ///
    /// # Errors
    /// Returns the errors of `wait`.
    fn kill(&mut self) -> io::Result<ExitStatus>;
}

/// A child process, the leader of its process group.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    child: Child,
    reaped: bool,
}

impl ChildProcess {
    pub(crate) fn new(child: Child) -> Self {
        Self { child, reaped: false }
    }

    fn number(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Running for ChildProcess {
    fn pid(&self) -> Option<Pid> {
        Some(self.number())
    }

    fn cpu_time(&self) -> Duration {
        // Not `wait4`: it adds the time of the process's own children, which no limit counts.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        Duration::from_secs_f64(ticks(&stat) as f64 / a_second as f64)
    }

    /// Kills the group before it reaps the child: until then, the child's number cannot be another process's.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        if !self.reaped {
            let _ = killpg(self.number(), Signal::SIGKILL);
            self.reaped = true;
        }
        self.child.wait()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Returns the clock ticks in user and kernel mode of a `/proc/PID/stat`.
fn ticks(stat: &str) -> u64 {
    // pid (name) state …; the name may hold anything, and utime and stime are fields 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Level;

    use super::*;

    #[test]
    fn the_limit_that_ended_a_process_is_the_cause() {
        let (abort, kill, cpu) = (libc::SIGABRT, libc::SIGKILL, libc::SIGXCPU);
        let signal = |number| Cause::Signal { number };
        let no_memory = "memory allocation of 8 bytes failed";
        let limits = (Some(1024), Some(5));
        let cases = [
            (abort, no_memory, 0, limits, Cause::MemoryLimit { bytes: 1024 }),
            (abort, "assertion failed", 0, limits, signal(abort)),
            (abort, no_memory, 0, (None, None), signal(abort)),
            (cpu, "", 5, limits, Cause::CpuLimit { seconds: 5 }),
            (cpu, "", 5, (None, None), signal(cpu)),
            (kill, "", 6, limits, Cause::CpuLimit { seconds: 5 }),
            (kill, "", 4, limits, signal(kill)),
            (kill, "", 6, (None, None), signal(kill)),
        ];
        for (number, words, seconds, (memory_limit, cpu_seconds), expected) in cases {
            let exit = ProcessExit {
                cause: signal(number),
                last_words: vec![words.into()],
                cpu_time: Duration::from_secs(seconds),
                ..ProcessExit::at_start(&"")
            };
            let isolation = Isolation { level: Level::Off, memory_limit, cpu_seconds };
            assert_eq!(exit.by_limit(&isolation).cause, expected, "{number} {words:?} after {seconds} s");
        }
    }

    #[test]
    fn what_follows_is_decided_by_the_end_of_the_conversation() {
        let second = Duration::from_secs(1);
        let wait = |reason: WaitError| ConversationEnd::from(io::Error::from(reason));
        let cases = [
            (ConversationEnd::Dismissed, Ending::LetGo),
            (wait(WaitError::Woken), Ending::Kill),
            (wait(WaitError::Deadline), Ending::Blame(Cause::deadline(second))),
            (wait(WaitError::Exited), Ending::AwaitExit),
            (io::Error::from(io::ErrorKind::BrokenPipe).into(), Ending::AwaitExit),
            (FrameError::End.into(), Ending::AwaitExit),
            (FrameError::Malformed("no frame".into()).into(), Ending::Blame(Cause::protocol("no frame"))),
            (ConversationEnd::breach("no hello"), Ending::Blame(Cause::protocol("no hello"))),
        ];
        for (end, expected) in cases {
            let shown = format!("{end:?}");
            assert_eq!(Ending::of(end, second), expected, "{shown}");
        }
    }

    #[test]
    fn the_exit_status_is_the_cause_of_an_exit() {
        let kills = container::kills();
        let cause = |status| exit_cause(Ok(ExitStatus::from_raw(status)), kills);
        assert_eq!(cause(3 << 8), Cause::Exit { code: 3 });
        assert_eq!(cause(libc::SIGSEGV), Cause::Signal { number: libc::SIGSEGV });
        let failed = exit_cause(Err(io::ErrorKind::NotFound.into()), kills);
        assert!(matches!(failed, Cause::System { .. }), "{failed:?}");
    }

    #[test]
    fn the_times_follow_a_name_of_any_kind() {
        let stat = "7 (a) b) 1 2 (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 30 5 6 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), 42);
        assert_eq!(ticks(""), 0);
    }
}
