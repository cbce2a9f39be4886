//! How soon a death is known: from the SIGKILL of a client until the host has written it down and said so.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::place::Place;

/// Processor time after which a client has long been training, in ticks of 10 ms.
const TRAINING: u64 = 5;

/// How long clients may take to get there.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients do that are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waiting for work, while client 0 trains.
    Idle,
    /// Training, one at a time: a process that waits for its turn on a core also dies only then.
    Training,
}

/// Kills clients of one run; gives milliseconds.
pub(crate) fn detect(place: &Place, state: State) -> Result<Vec<f64>> {
    let out = place.scratch.path().join("lost");
    let mut command = Command::new(&place.binary);
    command.arg("run").arg(&place.mlp).arg("--out").arg(&out);
    command.args(["--clients", "4", "--rounds", "1", "--epochs", "100000", "--jobs", "1"]);
    let mut host = Host(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    let mut said = BufReader::new(host.0.stderr.take().context("its standard error is not a pipe")?);
    host.await_training(0)?;
    let times = match state {
        State::Idle => (1..4).map(|number| time(host.await_process(number)?, &mut said)).collect(),
        // A client that is lost is tried again, and then dropped for the next one.
        State::Training => {
            let turns = [0, 0, 1, 1].into_iter();
            turns.map(|number| time(host.await_training(number)?, &mut said)).collect()
        }
    };
    drop(host);
    fs::remove_dir_all(out)?;
    times
}

fn time(client: i32, said: &mut BufReader<ChildStderr>) -> Result<f64> {
    let start = Instant::now();
    kill(Pid::from_raw(client), Signal::SIGKILL)?;
    let mut line = String::new();
    while !line.contains(" was lost ") {
        line.clear();
        ensure!(said.read_line(&mut line)? > 0, "the host ended");
    }
    Ok(1e3 * start.elapsed().as_secs_f64())
}

/// A run that is ended with its clients.
struct Host(Child);

impl Host {
    /// The process of a client, once it has long been training.
    fn await_training(&self, number: usize) -> Result<i32> {
        self.eventually(|| self.client(number).filter(|&pid| ticks(pid) >= Some(TRAINING)))
    }

    fn await_process(&self, number: usize) -> Result<i32> {
        self.eventually(|| self.client(number))
    }

    fn eventually(&self, look: impl Fn() -> Option<i32>) -> Result<i32> {
        let start = Instant::now();
        loop {
            if let Some(pid) = look() {
                return Ok(pid);
            }
            ensure!(start.elapsed() < PATIENCE, "the clients do not train");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn client(&self, number: usize) -> Option<i32> {
        let own = self.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).ok()?;
        let is_it = |pid: &i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split_terminator('\0').nth(3) == Some(&number.to_string())
        };
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_it)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processor time that a process has used.
fn ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name: state, and so on; the times of user and system are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}
