//! Whole runs of `fedpipe run`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    place::Place,
    watch::{Memory, watch},
};

/// A federation on Fashion-MNIST, iid, batch 32, SGD 0.1, one local epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) clients: u32,
    pub(crate) fraction: f64,
    pub(crate) rounds: u32,
    /// The difference from fedpipe's accuracy within which another system has done the same work. The standard
    /// deviation over implementations is 0.005 if all clients take part. If few do, it matters which.
    pub(crate) tolerance: f64,
}

pub(crate) const FOUR: Work =
    Work { name: "4 clients, 5 rounds", clients: 4, fraction: 1.0, rounds: 5, tolerance: 0.015 };
pub(crate) const HUNDRED: Work =
    Work { name: "100 clients, 10 % a round, 10 rounds", clients: 100, fraction: 0.1, rounds: 10, tolerance: 0.05 };
pub(crate) const THOUSAND: Work =
    Work { name: "1,000 clients, 10 % a round, 10 rounds", clients: 1000, fraction: 0.1, rounds: 10, tolerance: 0.05 };

/// The measurements of a run of fedpipe or of a peer. Times are seconds from the start of the first process.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) total: f64,
    pub(crate) ready: f64,
    /// The time at which each round ended, from the output of the program.
    pub(crate) ends: Vec<f64>,
    /// The accuracy after each round.
    pub(crate) accuracies: Vec<f64>,
    pub(crate) peak_pss: Option<f64>,
    /// The `seconds` of each round in the ledger, from sampling to the end of evaluation; empty for a peer.
    pub(crate) rounds: Vec<f64>,
}

impl Run {
    /// Returns the seconds of each round after the first, from one line of output to the next.
    pub(crate) fn later_rounds(&self) -> Vec<f64> {
        self.ends.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// Returns the seconds outside of the rounds: the start of the processes, the results, the end.
    pub(crate) fn besides_rounds(&self) -> f64 {
        self.total - self.rounds.iter().sum::<f64>()
    }
}

/// Runs `fedpipe run` once, as a user does: with its output on a pipe and a new run directory, with all `fsync` calls.
pub(crate) fn run(place: &Place, dylib: &Path, work: Work, more: &[&str], memory: Memory) -> Result<Run> {
    let out = place.scratch.path().join("run");
    let mut command = Command::new(&place.binary);
    command.arg("run").arg(dylib).arg("--out").arg(&out).args(more);
    command.args(["--clients".into(), work.clients.to_string(), "--rounds".into(), work.rounds.to_string()]);
    command.args(["--fraction".into(), work.fraction.to_string()]);
    let watched = watch(&mut command, memory)?;
    let times = |starts: &str, ends: &str| {
        let fits = |line: &str| line.starts_with(starts) && line.ends_with(ends);
        watched.lines.iter().filter(|(_, line)| fits(line)).map(|(at, _)| *at).collect::<Vec<f64>>()
    };
    // "mlp 0.1.0: 109386 weights" is printed when the first client has sent its weights.
    let ready = times("", " weights").first().copied().context("fedpipe never said that it was ready")?;
    let (rounds, accuracies) = ledger(&out.join("ledger.jsonl"))?;
    std::fs::remove_dir_all(&out)?;
    Ok(Run { total: watched.total, ready, ends: times("round ", " s"), accuracies, peak_pss: watched.peak_pss, rounds })
}

/// Returns the seconds and the accuracy of each round.
fn ledger(path: &PathBuf) -> Result<(Vec<f64>, Vec<f64>)> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let rounds: Vec<&Value> = lines.iter().filter(|line| line["event"] == "round").collect();
    let all = |key: &str| rounds.iter().filter_map(|round| round[key].as_f64()).collect::<Vec<f64>>();
    Ok((all("seconds"), all("accuracy")))
}
