//! `ledger.jsonl`: one line of compact JSON for everything that a run's result rests on. The lines are a chain. Each
//! carries the SHA-256 of the line before it, so that the next line reveals an edited line. The last line has no next
//! line.

use std::borrow::Cow;

use fedpipe_data::DatasetInfo;
use fedpipe_protocol::InForce;
use serde::{Deserialize, Serialize};

use crate::{
    build::Build,
    by_class::ByClass,
    crash::{ClientCrash, StrategyCrash},
    digest::bytes_sha256,
    experiment::Experiment,
    identity::CodeIdentity,
    round_line::{InitialScore, Round},
    summary::Summary,
};

/// A place in a ledger, between two lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub bytes: u64,
    /// SHA-256 of the last line, without its line feed; zeros before the first.
    pub hash: String,
}

/// A line of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line<'a> {
    Started {
        #[serde(flatten)]
        build: Build,
        cpu: Cpu,
        experiment: Cow<'a, Experiment>,
    },
    Dealt {
        dataset: Cow<'a, DatasetInfo>,
        sizes: Cow<'a, [u64]>,
        /// The held-out examples of each client; left out if nothing is held out.
        #[serde(default, skip_serializing_if = "<[u64]>::is_empty")]
        held_out: Cow<'a, [u64]>,
        /// Examples of each class, for each client; none of them if the clients have their own data.
        #[serde(default, skip_serializing_if = "<[Vec<u64>]>::is_empty")]
        label_counts: Cow<'a, [Vec<u64>]>,
        partitions_sha256: Cow<'a, str>,
    },
    Ready {
        model: Cow<'a, str>,
        version: Cow<'a, str>,
        /// The instruction set of the first client.
        #[serde(default, skip_serializing_if = "str::is_empty")]
        instruction_set: Cow<'a, str>,
        #[serde(flatten)]
        program: Cow<'a, CodeIdentity>,
        weights_sha256: Cow<'a, str>,
    },
    /// The isolation that the kernel enforces on every client of this session; where they are elsewhere, on the one of
    /// a process.
    Isolation {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<u32>,
        #[serde(flatten)]
        in_force: Cow<'a, InForce>,
    },
    /// The isolation of a strategy that is a program.
    StrategyIsolation(Cow<'a, InForce>),
    ClientCrashed(Cow<'a, ClientCrash>),
    StrategyCrashed(Cow<'a, StrategyCrash>),
    /// The score of the initial weights, before the first round.
    InitialScore(InitialScore),
    Round(Cow<'a, Round>),
    /// The run continues from the checkpoint after `round`.
    Resumed {
        round: u64,
        /// Lines that came after that checkpoint and were cut off; their rounds come again.
        cut_lines: u64,
        /// The build that continues the run; left out by one before it was recorded.
        #[serde(flatten)]
        build: Option<Build>,
        cpu: Cpu,
        /// The differences that were overruled with `--force` since the rounds before.
        #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
        forced: Cow<'a, [String]>,
        /// The experiment from here on, where something was overruled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        experiment: Option<Cow<'a, Experiment>>,
        /// The program and the data from here on, likewise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<Cow<'a, CodeIdentity>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, DataIdentity>>,
    },
    /// The clients run another dylib from `round` on.
    Reloaded {
        round: u64,
        dylib_sha256: Cow<'a, str>,
    },
    /// A dylib was to be taken before `round`, and was refused or reverted.
    ReloadRefused {
        round: u64,
        reason: Cow<'a, str>,
    },
    /// The scores of the final weights by class.
    ByClass(Cow<'a, ByClass>),
    Finished(Cow<'a, Summary>),
}

impl Line<'_> {
    /// Returns the round that is next when this line is written; `None` for a line that any round may follow.
    pub(crate) fn next_round(&self) -> Option<u64> {
        match self {
            Line::InitialScore(_) => Some(1),
            Line::Round(round) => Some(round.round),
            Line::Reloaded { round, .. } | Line::ReloadRefused { round, .. } => Some(*round),
            Line::Resumed { round, .. } => Some(round.saturating_add(1)),
            _ => None,
        }
    }
}

/// A line and its link to the line before.
#[derive(Debug, Serialize, Deserialize)]
pub struct Chained<'a> {
    #[serde(flatten)]
    pub line: Line<'a>,
    /// SHA-256 of the line before.
    pub prev: Cow<'a, str>,
}

/// The data of a run, by their contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataIdentity {
    pub dataset_sha256: String,
    /// Of the list of all partitions.
    pub partitions_sha256: String,
}

impl Default for Position {
    fn default() -> Self {
        Self { bytes: 0, hash: "0".repeat(64) }
    }
}

impl Position {
    /// Returns the place after `line`.
    pub fn after(&self, line: &[u8]) -> Self {
        Self { bytes: self.bytes + line.len() as u64 + 1, hash: bytes_sha256(line) }
    }

    /// Returns the text of a line that follows here, with its line feed, and the place after the line.
    ///
    /// # Errors
    /// Returns those of serialising, which a line does not meet.
    pub fn chained(&self, line: Line<'_>) -> serde_json::Result<(Vec<u8>, Self)> {
        let mut text = serde_json::to_vec(&Chained { line, prev: Cow::Borrowed(&self.hash) })?;
        let after = self.after(&text);
        text.push(b'\n');
        Ok((text, after))
    }
}

/// The processor of the host. The bits are the same on all processors with FMA; the name helps to explain a difference.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cpu {
    name: String,
    arch: String,
}

impl Cpu {
    pub fn of_this_machine() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = info.lines().find(|line| line.starts_with("model name"));
        let name = line.and_then(|line| line.split_once(':')).map_or("", |(_, name)| name.trim()).to_owned();
        Self { name, arch: std::env::consts::ARCH.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_carries_the_hash_of_the_line_before() {
        let line = || Line::Reloaded { round: 1, dylib_sha256: "s".into() };
        let (first, position) = Position::default().chained(line()).unwrap();
        let (second, _) = position.chained(line()).unwrap();
        let text = first.strip_suffix(b"\n").unwrap();
        assert_eq!(position, Position { bytes: first.len() as u64, hash: bytes_sha256(text) });
        assert_eq!(position, Position::default().after(text));
        let prev = |line: &[u8]| serde_json::from_slice::<Chained<'static>>(line).unwrap().prev.into_owned();
        assert_eq!([prev(&first), prev(&second)], ["0".repeat(64), position.hash]);
    }
}
