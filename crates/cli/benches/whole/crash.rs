//! The time to detect a crash: from the SIGKILL of a client until the host has recorded it in the ledger.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::place::Place;

/// The processor time after which a client has long been training, in ticks of 10 ms.
const TRAINING: u64 = 5;

/// The time in which clients must reach the state, and a crash must be recorded.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of the clients that are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waiting for work, while another client trains.
    Idle,
    /// Training, one at a time, since a process that waits for a core also dies only when it has one.
    Training,
}

/// Kills clients of one run and returns the milliseconds until each was detected.
pub(crate) fn detect(place: &Place, state: State) -> Result<Vec<f64>> {
    let out = place.scratch.path().join("crash");
    let mut command = Command::new(&place.binary);
    command.arg("run").arg(&place.mlp).arg("--out").arg(&out);
    command.args(["--clients", "4", "--rounds", "1", "--epochs", "100000", "--jobs", "1"]);
    let host = Host(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let ledger = out.join("ledger.jsonl");
    let trains = host.await_training()?;
    let times = match state {
        State::Idle => {
            let idle = host.clients().into_iter().filter(|&pid| pid != trains);
            idle.map(|pid| time(pid, &ledger)).collect()
        }
        // After each of them, another client trains.
        State::Training => (0..4).map(|_| time(host.await_training()?, &ledger)).collect(),
    };
    drop(host);
    fs::remove_dir_all(out)?;
    times
}

fn time(client: i32, ledger: &Path) -> Result<f64> {
    let before = crashes(ledger)?;
    let start = Instant::now();
    kill(Pid::from_raw(client), Signal::SIGKILL)?;
    // The screen shows equal crashes of a round only once, so that the ledger is polled.
    while crashes(ledger)? == before {
        ensure!(start.elapsed() < PATIENCE, "the host did not record the crash");
        thread::sleep(Duration::from_micros(100));
    }
    Ok(1e3 * start.elapsed().as_secs_f64())
}

/// Returns the number of client crashes in a ledger.
fn crashes(ledger: &Path) -> Result<usize> {
    Ok(fs::read_to_string(ledger)?.matches("\"event\":\"client_crashed\"").count())
}

/// A run. Dropping the value ends it with its clients.
struct Host(Child);

impl Host {
    /// Returns the process of the client that trains, once it has long been training.
    fn await_training(&self) -> Result<i32> {
        let start = Instant::now();
        loop {
            if let Some(pid) = self.clients().into_iter().find(|&pid| ticks(pid) >= Some(TRAINING)) {
                return Ok(pid);
            }
            ensure!(start.elapsed() < PATIENCE, "the clients do not train");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn clients(&self) -> Vec<i32> {
        let own = self.0.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the processor time that a process has used.
fn ticks(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state follows the name; the times of user and system are the 12th and 13th fields from there.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}
