//! A run in progress, observed through /proc.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Instant,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::common::{Place, Run, eventually};

/// A host in progress. Dropping the value kills the host.
#[derive(Debug)]
pub(crate) struct Live<'p> {
    place: &'p Place,
    host: Child,
    pub(crate) run: Run,
    printed: PrintedLines,
    listener: JoinHandle<()>,
}

/// The lines of the host's standard error, each with the time of its arrival.
type PrintedLines = Arc<Mutex<Vec<(Instant, String)>>>;

/// A client process.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) pid: i32,
    /// The number that the host gave it.
    pub(crate) arguments: Vec<String>,
    /// The descriptor that identifies the process even after its number was reused.
    pidfd: OwnedFd,
}

impl<'p> Live<'p> {
    /// Starts `fedpipe run` as [`Place::run`] does.
    pub(crate) fn start(place: &'p Place, arguments: &str) -> Self {
        let (command, run) = place.command(arguments);
        Self::of(place, command, run)
    }

    pub(crate) fn of(place: &'p Place, mut command: Command, run: Run) -> Self {
        let mut host = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(host.stderr.take().unwrap());
        let printed = PrintedLines::default();
        let sink = Arc::clone(&printed);
        let listener = thread::spawn(move || {
            errors.lines().map_while(Result::ok).for_each(|line| sink.lock().unwrap().push((Instant::now(), line)));
        });
        Self { place, host, run, printed, listener }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.host.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits until the fault of the model `misbehaving` is due, for a client in a round.
    pub(crate) fn await_fault(&mut self, client: u32, round: u64) {
        self.await_log(&format!("due in {{}} for client {client} in round {round}\n"));
    }

    /// Waits until all clients wait at the start of a round.
    pub(crate) fn await_held(&mut self, clients: u32, round: u64) {
        (0..clients).for_each(|client| self.await_log(&format!("held for client {client} in round {round}\n")));
    }

    /// Waits until a client has printed `text`, in which `{}` is any word.
    pub(crate) fn await_log(&mut self, text: &str) {
        let (start, end) = text.split_once("{}").unwrap_or(("", text));
        eventually(&format!("in a log: {text:?}"), || {
            if let Some(status) = self.host.try_wait().unwrap() {
                panic!("the run ended too early with {status}: {}", self.errors());
            }
            self.run.logs().split_inclusive('\n').any(|line| line.contains(start) && line.ends_with(end)).then_some(())
        });
    }

    /// Waits for a line on the host's standard error for which `is_it` holds, and returns the time of its arrival.
    pub(crate) fn await_said(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Instant {
        eventually(what, || self.printed.lock().unwrap().iter().find(|(_, line)| is_it(line)).map(|(at, _)| *at))
    }

    /// Lets the model commit the fault.
    pub(crate) fn allow_fault(&self, client: u32, round: u64) {
        self.mark(&format!("{client}-{round}"));
    }

    /// Creates a mark that the model waits for.
    pub(crate) fn mark(&self, name: &str) {
        File::create(self.place.path("marks").join(name)).unwrap();
    }

    /// Returns the client processes, by number.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let mut clients: Vec<Client> =
            children(self.pid()).into_iter().filter_map(|(pid, _)| Client::of(pid)).collect();
        clients.sort_by_key(Client::number);
        clients
    }

    pub(crate) fn client(&self, number: u32) -> Client {
        let clients = self.clients();
        clients.into_iter().find(|client| client.number() == number).unwrap_or_else(|| panic!("no client {number}"))
    }

    /// Waits for the end of the host.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.host.wait().unwrap();
        eventually("the end of what the host says", || self.listener.is_finished().then_some(()));
        (status, self.errors())
    }

    fn errors(&self) -> String {
        self.printed.lock().unwrap().iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

impl Client {
    fn of(pid: i32) -> Option<Self> {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments: Vec<String> = line.split_terminator('\0').map(ToOwned::to_owned).collect();
        let pidfd = pidfd_open(rustix::process::Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        (arguments.first()? == "fedpipe-client").then_some(Self { pid, arguments, pidfd })
    }

    pub(crate) fn number(&self) -> u32 {
        self.arguments[3].parse().unwrap()
    }

    /// Returns the text of a file in its folder in /proc.
    pub(crate) fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }

    /// Returns its descriptors, with the file of each.
    pub(crate) fn descriptors(&self) -> Vec<(u32, String)> {
        descriptors(self.pid)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Waits until the process has ended, whichever process reaps it.
    pub(crate) fn await_end(&self) {
        let limit = PollTimeout::from(60_000_u16);
        let ended = poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], limit).unwrap();
        assert_eq!(ended, 1, "client {} lives on: {:?}", self.number(), self.arguments);
    }
}

/// Returns the descriptors of a process, with the file of each.
pub(crate) fn descriptors(pid: i32) -> Vec<(u32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
    // A descriptor that is closed meanwhile is left out.
    let descriptor = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, target.to_str()?.to_owned()))
    };
    let mut descriptors: Vec<(u32, String)> = entries.filter_map(descriptor).collect();
    descriptors.sort();
    descriptors
}

/// Returns the children of a process, zombies included, each with its state.
pub(crate) fn children(parent: i32) -> Vec<(i32, char)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let child = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The format is "pid (name) state parent …"; the name may contain any character.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        (fields.next()?.parse() == Ok(parent)).then_some((pid, state))
    };
    processes.filter_map(|entry| child(entry.file_name().to_str()?.parse().ok()?)).collect()
}
