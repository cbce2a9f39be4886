//! The causes for which the system starts no process or thread: a closed list, each with a remedy. The cause follows
//! from the call and its error number.

use std::{fmt, io, path::Path};

use nix::errno::Errno;

/// A call on the way to a process or a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartCall {
    /// Makes a pipe, an event or a copy of a descriptor.
    Descriptor,
    /// Opens `/dev/null` as the standard input.
    Null,
    /// Forks, closes the descriptors that are inherited, and executes the program.
    Process,
    /// Starts a program of the user's, which may be missing or no program.
    Program,
    /// Opens a descriptor that names the process.
    PidFd,
    /// Starts a thread.
    Thread,
}

/// The cause for which a call on the way to a process or a thread failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartCause {
    /// The user, the cgroup or the machine has as many processes and threads as it may have.
    ProcessLimit,
    /// This process has as many descriptors as it may have.
    DescriptorLimit,
    /// The machine has as many open files as it may have.
    OpenFileLimit,
    /// The memory is full.
    Memory,
    /// `/proc` is not mounted, from which this binary is executed again.
    NoProc,
    /// `/dev/null` is missing or cannot be opened.
    NoNull,
    /// The kernel lacks `pidfd_open`, or something forbids it.
    NoPidFd,
    /// A security module or a container's seccomp profile forbids a call, or the kernel lacks it.
    Forbidden,
    /// Something else, for which no remedy is known.
    Other,
}

/// A process or a thread that could not be started.
#[derive(Debug)]
pub struct StartError {
    cause: StartCause,
    source: io::Error,
}

impl StartCause {
    fn of(call: StartCall, number: Option<Errno>, proc_is_there: bool) -> Self {
        use StartCall::{Null, PidFd, Process, Program, Thread};
        match (call, number) {
            (_, Some(Errno::EMFILE)) => Self::DescriptorLimit,
            (_, Some(Errno::ENFILE)) => Self::OpenFileLimit,
            (_, Some(Errno::ENOMEM)) => Self::Memory,
            (Process | Program | Thread, Some(Errno::EAGAIN)) => Self::ProcessLimit,
            (Process, Some(Errno::ENOENT)) if !proc_is_there => Self::NoProc,
            (Null, Some(_)) => Self::NoNull,
            (PidFd, Some(Errno::ENOSYS | Errno::EPERM | Errno::EACCES | Errno::EINVAL)) => Self::NoPidFd,
            // EINVAL: `close_range` of Linux 5.9 and 5.10 has no CLOSE_RANGE_CLOEXEC.
            (Process, Some(Errno::ENOSYS | Errno::EPERM | Errno::EACCES | Errno::EINVAL)) => Self::Forbidden,
            (Thread, Some(Errno::ENOSYS | Errno::EPERM | Errno::EACCES)) => Self::Forbidden,
            _ => Self::Other,
        }
    }

    /// Returns the cause, where the error's own words lack it, and the remedy; empty parts for what is not known.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::ProcessLimit => ("", "raise `ulimit -u` or the cgroup's pids.max"),
            Self::DescriptorLimit => ("", "raise `ulimit -n`"),
            Self::OpenFileLimit => ("", "raise the machine's limit (sysctl fs.file-max), or end other programs"),
            Self::Memory => ("", "end other programs"),
            Self::NoProc => ("/proc is not mounted", "mount it (mount -t proc proc /proc)"),
            Self::NoNull => ("/dev/null cannot be opened", "make it (mknod -m 666 /dev/null c 1 3)"),
            Self::NoPidFd => (
                "pidfd_open is refused",
                "use Linux 5.3 or later, and in a container a seccomp profile that allows the call",
            ),
            Self::Forbidden => (
                "a process may not be started here",
                "use Linux 5.11 or later, and in a container a seccomp profile that allows clone, close_range and execve",
            ),
            Self::Other => ("", ""),
        }
    }
}

impl StartError {
    /// Returns the error of a call.
    pub fn new(call: StartCall, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let number = source.raw_os_error().map(Errno::from_raw);
        let proc_is_there = Path::new("/proc/self/exe").symlink_metadata().is_ok();
        Self { cause: StartCause::of(call, number, proc_is_there), source }
    }

    /// Returns the cause.
    pub fn cause(&self) -> StartCause {
        self.cause
    }

    /// Returns `true` if fewer processes may start.
    pub(crate) fn is_of_number(&self) -> bool {
        matches!(self.cause, StartCause::ProcessLimit | StartCause::DescriptorLimit | StartCause::Memory)
    }
}

/// Returns a function for `map_err` that makes the error of `call`.
pub(crate) fn failed<E: Into<io::Error>>(call: StartCall) -> impl Fn(E) -> StartError {
    move |error| StartError::new(call, error)
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, remedy) = self.cause.words();
        if !what.is_empty() {
            write!(f, "{what}: ")?;
        }
        self.source.fmt(f)?;
        match remedy {
            "" => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;
    use StartCall::{Descriptor, Null, PidFd, Process, Program, Thread};

    #[test]
    fn each_cause_follows_from_the_call_and_the_error_number() {
        let cases = [
            (Process, Errno::EAGAIN, StartCause::ProcessLimit),
            (Thread, Errno::EAGAIN, StartCause::ProcessLimit),
            // A pipe knows no such limit.
            (Descriptor, Errno::EAGAIN, StartCause::Other),
            (Descriptor, Errno::EMFILE, StartCause::DescriptorLimit),
            (Null, Errno::EMFILE, StartCause::DescriptorLimit),
            (Process, Errno::EMFILE, StartCause::DescriptorLimit),
            (PidFd, Errno::EMFILE, StartCause::DescriptorLimit),
            (Descriptor, Errno::ENFILE, StartCause::OpenFileLimit),
            (PidFd, Errno::ENFILE, StartCause::OpenFileLimit),
            (Process, Errno::ENOMEM, StartCause::Memory),
            (Descriptor, Errno::ENOMEM, StartCause::Memory),
            (PidFd, Errno::ENOMEM, StartCause::Memory),
            (Process, Errno::ENOENT, StartCause::Other),
            (Null, Errno::ENOENT, StartCause::NoNull),
            (Null, Errno::EACCES, StartCause::NoNull),
            (Null, Errno::ENXIO, StartCause::NoNull),
            (PidFd, Errno::ENOSYS, StartCause::NoPidFd),
            (PidFd, Errno::EPERM, StartCause::NoPidFd),
            (Process, Errno::EPERM, StartCause::Forbidden),
            (Process, Errno::ENOSYS, StartCause::Forbidden),
            (Process, Errno::EINVAL, StartCause::Forbidden),
            (Thread, Errno::EPERM, StartCause::Forbidden),
            (Process, Errno::E2BIG, StartCause::Other),
            (Program, Errno::EAGAIN, StartCause::ProcessLimit),
            (Program, Errno::EACCES, StartCause::Other),
        ];
        for (call, number, cause) in cases {
            assert_eq!(StartError::new(call, number).cause(), cause, "{call:?} {number}");
        }
        assert_eq!(StartCause::of(Process, Some(Errno::ENOENT), false), StartCause::NoProc);
    }

    #[test]
    fn each_cause_has_a_remedy_of_its_own() {
        let message = |call, number: Errno| StartError::new(call, number).to_string();
        let again = "Resource temporarily unavailable (os error 11); raise `ulimit -u` or the cgroup's pids.max";
        assert_eq!(message(Process, Errno::EAGAIN), again);
        let null = "/dev/null cannot be opened: No such file or directory (os error 2); make it (mknod -m 666 \
            /dev/null c 1 3)";
        assert_eq!(message(Null, Errno::ENOENT), null);
        assert_eq!(message(Process, Errno::E2BIG), "Argument list too long (os error 7)");
        use StartCause::{
            DescriptorLimit, Forbidden, Memory, NoNull, NoPidFd, NoProc, OpenFileLimit, Other, ProcessLimit,
        };
        let all = [ProcessLimit, DescriptorLimit, OpenFileLimit, Memory, NoProc, NoNull, NoPidFd, Forbidden, Other];
        let mut remedies = all.map(|cause| cause.words().1);
        remedies.sort_unstable();
        assert!(remedies.windows(2).all(|pair| pair[0] != pair[1]), "{remedies:?}");
        // Descriptors are the remedy for nothing else.
        assert_eq!(remedies.iter().filter(|remedy| remedy.contains("ulimit -n")).count(), 1);
    }
}
