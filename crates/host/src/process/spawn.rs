//! Starts a client process: two pipes, one log pipe, and nothing else inherited.
#![allow(unsafe_code, reason = "code between fork and exec is unsafe by nature")]

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::pipe2,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::process::{
    start_error::{StartCall, StartError, failed},
    stray::MARK,
};

/// What a client of a dylib inherits of the host's environment, which may hold secrets, and which its model can read: the
/// choice of an instruction set, whether a panic is to tell its way, and what the loader loads from where.
const ENVIRONMENT: [&str; 5] = ["FEDPIPE_ISA", "RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "LD_LIBRARY_PATH", "LD_PRELOAD"];

/// How to start a client; the CLI says it, since `/proc/self/exe` is the test binary under test.
#[derive(Debug, Clone)]
pub struct ClientCommand {
    /// What is executed.
    pub program: PathBuf,
    /// Its `argv[0]`.
    pub name: OsString,
    /// What comes before the three arguments of every client.
    pub arguments: Vec<OsString>,
    /// Whether it has all of the host's environment: a program of the user's may rest on any of it.
    pub inherits: bool,
    /// What is set in its environment.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Whether it stands for a client on another machine, where other things are in force than on this one.
    pub elsewhere: bool,
}

impl ClientCommand {
    /// A client of fedpipe's own.
    pub fn new(program: impl Into<PathBuf>, name: impl Into<OsString>) -> Self {
        let (program, name) = (program.into(), name.into());
        Self { program, name, arguments: Vec::new(), inherits: false, environment: Vec::new(), elsewhere: false }
    }
}

/// A client process that was just started, and the host's ends of its pipes, all non-blocking.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) child: Child,
    /// Becomes readable when the process ends, whoever still holds its pipes.
    pub(crate) pidfd: Arc<OwnedFd>,
    pub(crate) to: File,
    pub(crate) from: File,
    /// What the client writes to its standard output and error.
    pub(crate) log: File,
}

/// Starts client process `number`. Must be called by the thread that lives as long as the run: the kernel ends the
/// client when the *thread* that forked it ends.
///
/// Its environment has `mark`, and so has that of whatever it starts.
pub(crate) fn spawn(command: &ClientCommand, number: u32, mark: &str, pipe_size: i32) -> Result<Spawned, StartError> {
    let descriptor = failed(StartCall::Descriptor);
    let (client_read, to) = pipe2(OFlag::O_CLOEXEC).map_err(&descriptor)?;
    let (from, client_write) = pipe2(OFlag::O_CLOEXEC).map_err(&descriptor)?;
    let (log, client_log) = pipe2(OFlag::O_CLOEXEC).map_err(&descriptor)?;
    for end in [&to, &from] {
        // Best effort: past the user's limit the pipe keeps its size and the round takes longer.
        let _ = fcntl(end, FcntlArg::F_SETPIPE_SZ(pipe_size));
    }
    for end in [&to, &from, &log] {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(&descriptor)?;
    }
    // Opened here, since a missing /dev/null and a missing program have the same error number.
    let null = File::open("/dev/null").map_err(failed(StartCall::Null))?;
    let own = [client_read.as_raw_fd(), client_write.as_raw_fd()];
    let mut process = Command::new(&command.program);
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
        Ok(pidfd) => Ok(Spawned { child, pidfd: Arc::new(pidfd), to: to.into(), from: from.into(), log: log.into() }),
        Err(error) => {
            // The child is there already, and nobody else knows of it.
            let _ = child.kill().and_then(|()| child.wait());
            Err(StartError::new(StartCall::PidFd, error))
        }
    }
}

/// In the child, before exec: everything is closed on exec except its own two descriptors (the host may itself have
/// inherited others that are not close-on-exec), and the child does not outlive the host.
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

/// Makes room for the descriptors of `processes` clients, up to the hard limit: a thousand of them need 5,000.
pub(crate) fn allow_descriptors(processes: u32) -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Both pipes, the log pipe, the pidfd and the wake-up; and some for the host itself.
    let needed = 5 * u64::from(processes) + 64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)?;
    }
    Ok(())
}

/// Returns how many descriptors this process may have at most.
pub(crate) fn most_descriptors() -> u64 {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, hard)| hard)
}
