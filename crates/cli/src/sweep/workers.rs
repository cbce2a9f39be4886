//! The processes of a sweep. Each run is a process of this command; a thread waits for each.
//!
//! A process ends with the sweep: the kernel kills it when the thread that started it ends. A stop is sent to each
//! process, which then ends as `fedpipe run` does.

use std::{
    fs::{self, File},
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering},
        mpsc::Sender,
    },
    thread,
};

use fedpipe_host::{Error, Result, StartCall, StartError};
use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::{Pid, getppid},
};

use crate::inputs::own_file;

/// The name of the process of a run, by which it knows that it belongs to a sweep.
pub(crate) const RUN_NAME: &str = "fedpipe-run";

/// The variable with the number of the process of the sweep.
const PARENT: &str = "FEDPIPE_SWEEP_PID";

/// The work of one process.
#[derive(Debug)]
pub(crate) struct SweepJob {
    /// The place of the run in the sweep.
    pub(crate) place: usize,
    /// The arguments of the command.
    pub(crate) arguments: Vec<String>,
    /// The file for the warnings and errors of the run.
    pub(crate) log: PathBuf,
}

/// The end of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The place of the run in the sweep.
    pub(crate) place: usize,
    /// The exit code; 128 + n for signal n.
    pub(crate) code: i32,
    /// The warnings and errors of the run, without line feeds.
    pub(crate) said: Vec<String>,
}

/// The processes at work, and the request to stop them.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    stop: AtomicI32,
    processes: Mutex<Vec<Pid>>,
}

/// Has the kernel kill this process when the sweep ends that started it. Returns `false` if the sweep has ended.
pub(crate) fn ends_with_sweep() -> bool {
    let parent = std::env::var(PARENT).ok().and_then(|number| number.parse().ok());
    set_pdeathsig(Signal::SIGKILL).is_ok() && parent.is_none_or(|parent| getppid() == Pid::from_raw(parent))
}

impl Workers {
    /// Returns the signal that stopped the sweep.
    pub(crate) fn stopped_by(&self) -> Option<i32> {
        Some(self.stop.load(Ordering::SeqCst)).filter(|&signal| signal != 0)
    }

    /// Ends the processes as a signal ends `fedpipe run`, and starts no further ones.
    pub(crate) fn stop(&self, signal: i32) {
        self.stop.store(signal, Ordering::SeqCst);
        for &process in self.processes().iter() {
            let _ = kill(process, Signal::SIGTERM);
        }
    }

    /// Does all jobs, so many `at_once`. Each end is sent when it comes.
    ///
    /// # Errors
    /// Returns [`Error::System`] if the system refuses a thread.
    pub(crate) fn start(self: &Arc<Self>, jobs: Vec<SweepJob>, at_once: usize, ends: &Sender<Ended>) -> Result<()> {
        let queue = Arc::new(Mutex::new(jobs.into_iter()));
        for _ in 0..at_once {
            let (workers, queue, ends) = (Arc::clone(self), Arc::clone(&queue), ends.clone());
            let work = move || {
                while let Some(job) = lock(&queue).next() {
                    if workers.stopped_by().is_some() || ends.send(workers.end_of(&job)).is_err() {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().name("run".into()).stack_size(256 << 10).spawn(work);
            let refused = |error| Error::not_started("the thread of a run", &StartError::new(StartCall::Thread, error));
            thread.map_err(refused)?;
        }
        Ok(())
    }

    /// Starts a process and waits for its end. A process that cannot be started has the code 1.
    fn end_of(&self, job: &SweepJob) -> Ended {
        let status = self.run(job);
        let log = fs::read_to_string(&job.log).unwrap_or_default();
        if log.is_empty() {
            let _ = fs::remove_file(&job.log);
        }
        let mut said: Vec<String> = log.lines().map(str::to_owned).collect();
        let code = match status {
            Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            Err(error) => {
                said.push(format!("error: the process of the run cannot be started: {error}"));
                1
            }
        };
        Ended { place: job.place, code, said }
    }

    fn run(&self, job: &SweepJob) -> io::Result<ExitStatus> {
        let mut command = Command::new(own_file::executable());
        // A process group of its own: Ctrl-C reaches the sweep alone, which stops the runs.
        command.arg0(RUN_NAME).args(&job.arguments).env(PARENT, std::process::id().to_string()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&job.log)?);
        let mut child = {
            // Under the lock, so that a stop meets a process that is on the list, or none.
            let mut processes = self.processes();
            if self.stopped_by().is_some() {
                return Ok(ExitStatus::from_raw(Signal::SIGTERM as i32));
            }
            let child = command.spawn()?;
            processes.push(number(&child));
            child
        };
        // The process keeps its number until it is reaped, so that no signal can meet another one.
        while waitid(Id::Pid(number(&child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).is_err_and(is_interrupted) {}
        self.processes().retain(|&process| process != number(&child));
        child.wait()
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Pid>> {
        lock(&self.processes)
    }
}

fn number(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

fn is_interrupted(error: nix::errno::Errno) -> bool {
    error == nix::errno::Errno::EINTR
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
