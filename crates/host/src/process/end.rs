//! The end of a client process: why it came, and that nothing of it is left.

use std::{
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use fedpipe_protocol::{FrameError, Isolation};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, SysconfVar, sysconf},
};

use fedpipe_record::cause::Cause;

use crate::process::{
    container,
    pipes::{GaveUp, Link, Want, gave_up},
    stray::end_strays,
};

/// How long a client may take to end after its pipe was closed.
const GRACE: Duration = Duration::from_millis(500);

/// A lost client process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessExit {
    pub(crate) cause: Cause,
    pub(crate) last_words: Vec<String>,
    pub(crate) log: Option<PathBuf>,
    /// Since the process was started.
    pub(crate) after: Duration,
    /// That it took meanwhile.
    pub(crate) processor_time: Duration,
    /// The process sent a valid `hello` before it ended.
    pub(crate) greeted: bool,
}

impl ProcessExit {
    /// The same loss, named after the limit that ended the process, if one did.
    pub(crate) fn by_limit(self, isolation: &Isolation) -> Self {
        let cause = match (&self.cause, isolation.memory_limit, isolation.cpu_seconds) {
            // Rust's own words when an allocation fails; SIGABRT alone may be anything.
            (Cause::Signal { number: libc::SIGABRT }, Some(bytes), _)
                if self.last_words.iter().any(|line| line.starts_with("memory allocation of ")) =>
            {
                Cause::MemoryLimit { bytes }
            }
            (Cause::Signal { number: libc::SIGXCPU }, _, Some(seconds)) => Cause::CpuLimit { seconds },
            // What follows a second later for a model that ignores SIGXCPU.
            (Cause::Signal { number: libc::SIGKILL }, _, Some(seconds)) if self.processor_time.as_secs() >= seconds => {
                Cause::CpuLimit { seconds }
            }
            _ => return self,
        };
        Self { cause, ..self }
    }

    /// Of a process that there never was.
    pub(crate) fn at_start(error: &impl ToString) -> Self {
        let cause = Cause::System { message: error.to_string() };
        let (after, processor_time) = (Duration::ZERO, Duration::ZERO);
        Self { cause, last_words: Vec::new(), log: None, after, processor_time, greeted: false }
    }
}

/// Why a conversation ended.
pub(crate) enum End {
    /// The host has no more orders.
    Dismissed,
    Failed(FrameError),
    Unfit(Cause),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        End::Failed(error)
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        End::Failed(error.into())
    }
}

/// A child that is killed and reaped, whatever happens to its thread.
pub(crate) struct Process {
    child: Child,
    /// In the environment of the process and of what it started.
    mark: String,
    /// Kills for want of memory in this container before the process was started.
    kills: u64,
    reaped: bool,
}

impl Process {
    pub(crate) fn new(child: Child, mark: String) -> Self {
        Self { child, mark, kills: container::kills(), reaped: false }
    }

    /// Ends the process and says why it was lost, unless it was dismissed.
    pub(crate) fn end(
        &mut self,
        link: &mut Link,
        end: End,
        timeout: Duration,
        started: Instant,
    ) -> Option<ProcessExit> {
        let cause = match end {
            End::Dismissed => {
                self.let_go(link);
                return None;
            }
            End::Failed(FrameError::Io(error)) if gave_up(&error) == Some(GaveUp::Woken) => {
                let _ = self.kill();
                return None;
            }
            End::Unfit(cause) => Some(cause),
            End::Failed(FrameError::Malformed(message)) => Some(Cause::protocol(message)),
            End::Failed(FrameError::Io(error)) if gave_up(&error) == Some(GaveUp::Deadline) => {
                Some(Cause::deadline(timeout))
            }
            // The pipe ended or broke: the exit says why.
            End::Failed(_) if wait_for_exit(link) => None,
            End::Failed(_) => Some(Cause::protocol("it closed its pipe and lives on")),
        };
        let processor_time = self.processor_time();
        let status = self.kill();
        link.drain_log();
        let cause = cause.unwrap_or_else(|| match status {
            Ok(status) if status.signal() == Some(libc::SIGKILL) && container::kills() > self.kills => {
                Cause::OutOfMemory { bytes: container::memory_limit() }
            }
            Ok(status) => Cause::of_exit(status),
            Err(error) => Cause::System { message: error.to_string() },
        });
        let log = Some(link.log.path().to_owned()).filter(|path| path.exists());
        let (last_words, after) = (link.log.last_lines(), started.elapsed());
        Some(ProcessExit { cause, last_words, log, after, processor_time, greeted: link.greeted })
    }

    /// Ends what the process started and its group no longer holds.
    pub(crate) fn end_strays(&self) {
        end_strays(&|mark| mark == self.mark);
    }

    /// Lets an idle process end by itself at the end of its pipe.
    fn let_go(&mut self, link: &mut Link) {
        // Closing is dropping: another file takes the pipe's place.
        if let Ok(null) = std::fs::File::options().write(true).open("/dev/null") {
            link.to = null;
            wait_for_exit(link);
        }
        let _ = self.kill();
        link.drain_log();
    }

    /// What the process has taken, which /proc also knows of a dead one that was not reaped.
    fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // pid (name) state …; the name may hold anything, and utime and stime are fields 14 and 15.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        Duration::from_secs_f64(ticks as f64 / a_second as f64)
    }

    /// Kills what is left of the process group (a client's own children among it) and reaps the child. The group goes
    /// first: until it is reaped, the child's number cannot be another's.
    fn kill(&mut self) -> std::io::Result<ExitStatus> {
        if !self.reaped {
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
            self.reaped = true;
        }
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Waits, at most the grace, for the process to end; its log is drained meanwhile.
fn wait_for_exit(link: &mut Link) -> bool {
    link.allow(GRACE);
    link.wait(Want::Death).is_ok()
}
