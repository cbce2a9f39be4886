//! Starts a client process: two pipes, one log pipe, and nothing else inherited.
#![allow(unsafe_code, reason = "code between fork and exec is unsafe by nature")]

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::pipe2,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{
    error::start_error::{StartCall, StartError, failed},
    process::{
        end::{ChildProcess, Running},
        pipes::Ends,
        stray::MARK,
    },
};

/// The variables of the host's environment that a client of a dylib inherits. The others may hold secrets, and a model
/// can read its environment. These choose the instruction set, the backtrace of a panic, and the libraries of the
/// loader.
const ENVIRONMENT: [&str; 5] = ["FEDPIPE_ISA", "RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "LD_LIBRARY_PATH", "LD_PRELOAD"];

/// The command that starts a client. The command line gives it, since `/proc/self/exe` is the test binary under test.
#[derive(Debug, Clone)]
pub struct ClientCommand {
    /// The file to execute.
    pub executable: PathBuf,
    /// The `argv[0]` of the process.
    pub name: OsString,
    /// The arguments before the three of every client.
    pub arguments: Vec<OsString>,
    /// `true` if the client inherits all of the host's environment, which a program of the user's may need.
    pub inherits: bool,
    /// The variables that are set in the client's environment.
    pub environment: Vec<(&'static str, &'static str)>,
    /// `true` if the process stands for a client on another machine, which has its own isolation and limits.
    pub elsewhere: bool,
}

impl ClientCommand {
    /// Returns the command of fedpipe's own client.
    pub fn new(executable: impl Into<PathBuf>, name: impl Into<OsString>) -> Self {
        let (executable, name) = (executable.into(), name.into());
        Self { executable, name, arguments: Vec::new(), inherits: false, environment: Vec::new(), elsewhere: false }
    }
}

/// Starts clients: as processes, or in a unit test as threads.
pub(crate) trait Spawner: fmt::Debug + Send + Sync {
    /// Starts client `number`, whose environment and that of its descendants has `mark`.
    ///
    /// Must be called by the thread that lives as long as the run: the kernel ends the client when the *thread* that
    /// forked it ends.
    ///
    /// # Errors
    /// The call of the system that failed, with its remedy.
    fn spawn(&self, number: u32, mark: &str, pipe_size: i32) -> Result<Spawned, StartError>;

    /// Returns `true` if the client runs on another machine, which has its own isolation, limits and cores.
    fn is_elsewhere(&self) -> bool {
        false
    }
}

/// A client that was just started.
pub(crate) struct Spawned {
    pub(crate) process: Box<dyn Running>,
    pub(crate) ends: Ends,
}

impl Spawner for ClientCommand {
    fn spawn(&self, number: u32, mark: &str, pipe_size: i32) -> Result<Spawned, StartError> {
        spawn(self, number, mark, pipe_size)
    }

    fn is_elsewhere(&self) -> bool {
        self.elsewhere
    }
}

/// The ends of a client's three pipes.
struct Pipes {
    client_read: OwnedFd,
    client_write: OwnedFd,
    client_log: OwnedFd,
    to: OwnedFd,
    from: OwnedFd,
    log: OwnedFd,
}

impl Pipes {
    fn new(pipe_size: i32) -> nix::Result<Self> {
        let (client_read, to) = pipe2(OFlag::O_CLOEXEC)?;
        let (from, client_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (log, client_log) = pipe2(OFlag::O_CLOEXEC)?;
        for end in [&to, &from] {
            // Beyond the user's limit the pipe keeps its size, and the round takes longer.
            let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(pipe_size));
        }
        for end in [&to, &from, &log] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { client_read, client_write, client_log, to, from, log })
    }
}

fn spawn(command: &ClientCommand, number: u32, mark: &str, pipe_size: i32) -> Result<Spawned, StartError> {
    let Pipes { client_read, client_write, client_log, to, from, log } =
        Pipes::new(pipe_size).map_err(failed(StartCall::Descriptor))?;
    // Opened here, since a missing /dev/null and a missing program have the same error number.
    let null = File::open("/dev/null").map_err(failed(StartCall::Null))?;
    let own = [client_read.as_raw_fd(), client_write.as_raw_fd()];
    let mut process = Command::new(&command.executable);
    if !command.inherits {
        process.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    }
    process
        .arg0(&command.name)
        .args(&command.arguments)
        .args(own.map(|fd| fd.to_string()))
        .arg(number.to_string())
        .envs(command.environment.iter().copied())
        .env(MARK, mark)
        // A group of its own: Ctrl-C reaches the host alone, and the host reaches a client's children through it.
        .process_group(0)
        .stdin(null)
        .stdout(client_log.try_clone().map_err(failed(StartCall::Descriptor))?)
        .stderr(client_log);
    let host = nix::unistd::getpid().as_raw();
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock, no Rust runtime.
    unsafe { process.pre_exec(move || isolate_descriptors(own, host)) };
    let mut child = process.spawn().map_err(failed(StartCall::Process))?;
    match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => {
            let exited = Arc::new(pidfd);
            let ends = Ends { to: to.into(), from: from.into(), exited, log: Some(log.into()) };
            Ok(Spawned { process: Box::new(ChildProcess::new(child)), ends })
        }
        Err(error) => {
            // Nothing else ends the child, which runs already.
            let _ = child.kill().and_then(|()| child.wait());
            Err(StartError::new(StartCall::PidFd, error))
        }
    }
}

/// Runs in the child before exec. Closes all descriptors on exec except the child's `own` two, since the host may have
/// inherited others. Makes the kernel end the child with the host.
fn isolate_descriptors(own: [RawFd; 2], host: i32) -> io::Result<()> {
    let check = |result: libc::c_long| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: plain system calls on numbers; `close_range` only marks descriptors.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into())?;
        // The host may have died before the line above.
        if libc::getppid() != host {
            return Err(io::ErrorKind::NotFound.into());
        }
        check(libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC))?;
        own.iter().try_for_each(|&fd| check(libc::fcntl(fd, libc::F_SETFD, 0).into()))
    }
}

/// The descriptors of each client: both pipes, the log pipe, the pidfd and the wake-up.
const DESCRIPTORS_OF_A_CLIENT: u64 = 5;

/// The descriptors that the host needs for itself, generously.
const DESCRIPTORS_OF_THE_HOST: u64 = 64;

/// Returns the number of client processes for which the hard limit of descriptors is enough.
pub fn processes_within_limit() -> u64 {
    most_descriptors().saturating_sub(DESCRIPTORS_OF_THE_HOST) / DESCRIPTORS_OF_A_CLIENT
}

/// Raises the limit of descriptors for `processes` clients, up to the hard limit: a thousand clients need 5,000.
pub(crate) fn allow_descriptors(processes: u32) -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let needed = DESCRIPTORS_OF_A_CLIENT * u64::from(processes) + DESCRIPTORS_OF_THE_HOST;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)?;
    }
    Ok(())
}

/// Returns the hard limit of descriptors of this process.
pub(crate) fn most_descriptors() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard)
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::process::ExitStatusExt};

    use nix::poll::PollTimeout;

    use super::*;
    use crate::process::poll::wait_readable;

    /// The output of a shell that is started as a client, and how it exited.
    fn output(command: &ClientCommand) -> (String, std::process::ExitStatus) {
        let Spawned { mut process, ends } = spawn(command, 7, "a-mark", 4096).unwrap();
        let mut log = ends.log.unwrap();
        fcntl(&log, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        wait_readable(std::os::fd::AsFd::as_fd(&*ends.exited), PollTimeout::NONE).unwrap();
        (text, process.kill().unwrap())
    }

    fn shell(script: &str) -> ClientCommand {
        let arguments = vec!["-c".into(), script.into(), "client".into()];
        ClientCommand { arguments, ..ClientCommand::new("/bin/sh", "sh") }
    }

    #[test]
    fn a_client_has_its_number_its_mark_and_two_descriptors() {
        let script =
            "echo $3 $FEDPIPE_CLIENT; for fd in 3 4 5 6 7 8 9 $1 $2; do [ -e /proc/self/fd/$fd ] && echo $fd; done";
        let (text, status) = output(&shell(&format!("{script}; exit 3")));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("7 a-mark"));
        // The two may be below 10, and are then found twice.
        let found: std::collections::BTreeSet<&str> = lines.collect();
        assert_eq!(found.len(), 2, "{text}");
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn only_a_program_of_the_users_inherits_the_environment() {
        let own = shell("echo ${PATH:-none}; kill -9 $$");
        let path = std::env::var("PATH").unwrap();
        for (inherits, is_there) in [(false, false), (true, true)] {
            let environment = vec![("OMP_NUM_THREADS", "1")];
            let (text, status) = output(&ClientCommand { inherits, environment, ..own.clone() });
            assert_eq!(text.trim() == path, is_there, "{text}");
            assert_eq!(status.signal(), Some(libc::SIGKILL));
        }
    }
}
