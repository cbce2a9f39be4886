//! A run while it goes on, seen through /proc.

use std::{
    fs::{self, File},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::common::{Place, Run, eventually};

/// A host that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Live<'p> {
    place: &'p Place,
    host: Child,
    pub(crate) run: Run,
}

/// A client process.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) pid: i32,
    /// As the host gave it.
    pub(crate) arguments: Vec<String>,
    /// Names the process even after its number was given to another.
    pidfd: OwnedFd,
}

impl<'p> Live<'p> {
    /// Starts `fedpipe run` as [`Place::run`] does.
    pub(crate) fn start(place: &'p Place, arguments: &str) -> Self {
        let (command, run) = place.command(arguments);
        Self::of(place, command, run)
    }

    pub(crate) fn of(place: &'p Place, mut command: Command, run: Run) -> Self {
        let errors = File::create(place.path("marks/stderr")).unwrap();
        let host = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        Self { place, host, run }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.host.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits until the model `misbehaving` is about to do what it was told, for a client in a round.
    pub(crate) fn await_fault(&mut self, client: u32, round: u64) {
        let line = format!("for client {client} in round {round}\n");
        eventually(&format!("the log line {line:?}"), || {
            if let Some(status) = self.host.try_wait().unwrap() {
                panic!("the run ended too early with {status}: {}", self.errors());
            }
            self.run.logs().contains(&line).then_some(())
        });
    }

    /// Lets it be done.
    pub(crate) fn allow_fault(&self, client: u32, round: u64) {
        File::create(self.place.path(format!("marks/{client}-{round}"))).unwrap();
    }

    /// The client processes, by number.
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

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.host.wait().unwrap();
        (status, self.errors())
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.place.path("marks/stderr")).unwrap()
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

    /// A file of its folder in /proc.
    pub(crate) fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }

    /// Its descriptors and what they are open on.
    pub(crate) fn descriptors(&self) -> Vec<(u32, String)> {
        let mut descriptors: Vec<(u32, String)> = fs::read_dir(format!("/proc/{}/fd", self.pid))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let target = fs::read_link(entry.path()).unwrap();
                (entry.file_name().to_str().unwrap().parse().unwrap(), target.to_str().unwrap().to_owned())
            })
            .collect();
        descriptors.sort();
        descriptors
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Waits until it has ended, whoever reaps it.
    pub(crate) fn await_end(&self) {
        let limit = PollTimeout::from(60_000_u16);
        let ended = poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], limit).unwrap();
        assert_eq!(ended, 1, "client {} lives on: {:?}", self.number(), self.arguments);
    }
}

/// The children of a process, zombies among them, each with its state.
pub(crate) fn children(parent: i32) -> Vec<(i32, char)> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let child = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // pid (name) state parent …; the name may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        (fields.next()?.parse() == Ok(parent)).then_some((pid, state))
    };
    processes.filter_map(|entry| child(entry.file_name().to_str()?.parse().ok()?)).collect()
}
