//! `ledger.jsonl`: one line of compact JSON for everything that a run's result rests on. The lines are a chain: each
//! carries the SHA-256 of the line before it, so that an edited line is found by the one after it. After the last line there
//! is none.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use fedpipe_data::{DatasetInfo, refusal};
use fedpipe_protocol::InForce;
use serde::{Deserialize, Serialize};

use crate::{
    Event, Experiment, Lost, Program, Round, Summary,
    files::{read_regular, write_whole},
    summary::bytes_sha256,
};

/// The file's name in the run directory.
pub(crate) const NAME: &str = fedpipe_protocol::LEDGER;

/// Writes the ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    position: Position,
    /// A line is missing, so that none may follow.
    broken: bool,
}

/// A place in a ledger, between two lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) bytes: u64,
    /// SHA-256 of the last line, without its line feed; zeros before the first.
    pub(crate) hash: String,
}

/// A line of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Line<'a> {
    Started {
        fedpipe: Cow<'a, str>,
        cpu: Cpu,
        experiment: Cow<'a, Experiment>,
    },
    Dealt {
        dataset: Cow<'a, DatasetInfo>,
        sizes: Cow<'a, [u64]>,
        partitions_sha256: Cow<'a, str>,
    },
    Ready {
        model: Cow<'a, str>,
        version: Cow<'a, str>,
        #[serde(flatten)]
        program: Cow<'a, Program>,
        weights_sha256: Cow<'a, str>,
    },
    /// The isolation that the kernel enforces on every client of this session; where they are elsewhere, on the one of a process.
    Isolation {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<u32>,
        #[serde(flatten)]
        in_force: Cow<'a, InForce>,
    },
    /// The same, of a strategy that is a program.
    StrategyIsolation(Cow<'a, InForce>),
    Lost(Cow<'a, Lost>),
    Round(Cow<'a, Round>),
    /// The run goes on from the checkpoint after `round`.
    Resumed {
        round: u64,
        /// Lines that came after that checkpoint and were cut off; their rounds come again.
        cut_lines: u64,
        cpu: Cpu,
        /// The differences that were overruled with `--force` since the rounds before.
        #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
        forced: Cow<'a, [String]>,
        /// The experiment from here on, where something was overruled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        experiment: Option<Cow<'a, Experiment>>,
        /// The program and the data from here on, likewise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        program: Option<Cow<'a, Program>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<Cow<'a, DataIdentity>>,
    },
    /// From `round` on, the dylib is another.
    Reloaded {
        round: u64,
        dylib_sha256: Cow<'a, str>,
    },
    /// A dylib was to be taken before `round`, and was not.
    ReloadRefused {
        round: u64,
        reason: Cow<'a, str>,
    },
    Finished(Cow<'a, Summary>),
}

/// A line and its link.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Chained<'a> {
    #[serde(flatten)]
    pub(crate) line: Line<'a>,
    /// SHA-256 of the line before.
    pub(crate) prev: Cow<'a, str>,
}

/// The data of a run, by their contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataIdentity {
    pub(crate) dataset_sha256: String,
    /// Of the list of all partitions.
    pub(crate) partitions_sha256: String,
}

impl Default for Position {
    fn default() -> Self {
        Self { bytes: 0, hash: "0".repeat(64) }
    }
}

impl Position {
    /// The place after `line`.
    pub(crate) fn after(&self, line: &[u8]) -> Self {
        Self { bytes: self.bytes + line.len() as u64 + 1, hash: bytes_sha256(line) }
    }

    /// The text of a line that follows here, with its line feed, and the place after it.
    fn chained(&self, line: Line<'_>) -> anyhow::Result<(Vec<u8>, Self)> {
        let mut text = serde_json::to_vec(&Chained { line, prev: Cow::Borrowed(&self.hash) })?;
        let after = self.after(&text);
        text.push(b'\n');
        Ok((text, after))
    }
}

impl Ledger {
    /// A new ledger in a folder that is to be the run directory.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let file = File::options().create_new(true).append(true).open(&path)?;
        Ok(Self { file, path, position: Position::default(), broken: false })
    }

    /// The same ledger, whose folder is now `directory`.
    pub(crate) fn moved_to(self, directory: &Path) -> Self {
        Self { path: directory.join(NAME), ..self }
    }

    /// The ledger of a run that goes on: cut off at `position`, with `line` after it. It appears at once, so that no state
    /// between the two is ever there.
    pub(crate) fn cut(directory: &Path, position: &Position, line: Line<'_>) -> anyhow::Result<Self> {
        let path = directory.join(NAME);
        let mut bytes = read_regular(&path)?;
        bytes.truncate(position.bytes as usize);
        let (text, position) = position.chained(line)?;
        bytes.extend(text);
        write_whole(&path, &bytes)?;
        let file = File::options().append(true).open(&path)?;
        Ok(Self { file, path, position, broken: false })
    }

    /// The place after the last line.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Another handle, through which another thread may sync the file.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Puts the lines on the disk.
    pub(crate) fn sync(&self) -> anyhow::Result<()> {
        let synced = refusal(self.file.sync_data()).map(drop);
        synced.with_context(|| format!("cannot write {}", self.path.display()))
    }

    pub(crate) fn append(&mut self, line: Line<'_>) -> anyhow::Result<()> {
        anyhow::ensure!(!self.broken, "{} lacks a line that could not be written", self.path.display());
        let (text, after) = self.position.chained(line)?;
        // One write, so that a power cut tears a line at most at its end.
        let written = self.file.write_all(&text);
        match written {
            Ok(()) => self.position = after,
            Err(_) => {
                // What a full disk took of the line would be no line of a ledger.
                let _ = self.file.set_len(self.position.bytes);
                self.broken = true;
            }
        }
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl<'a> Line<'a> {
    /// The first line.
    pub(crate) fn started(experiment: &'a Experiment) -> Self {
        let fedpipe = Cow::Borrowed(env!("CARGO_PKG_VERSION"));
        Line::Started { fedpipe, cpu: Cpu::of_this_machine(), experiment: Cow::Borrowed(experiment) }
    }

    /// The line for an event; events that no result rests on have none.
    pub(crate) fn of(event: &Event<'a>) -> Option<Self> {
        let text = Cow::Borrowed;
        Some(match *event {
            Event::Data(_) | Event::RoundStarted { .. } | Event::Trained { .. } => return None,
            // The run directory comes with that line.
            Event::Started { .. } => return None,
            Event::Warning(_) => return None,
            Event::ReloadRefused { round, reason } => Line::ReloadRefused { round, reason: text(reason) },
            Event::Reloaded { round, dylib_sha256 } => Line::Reloaded { round, dylib_sha256: text(dylib_sha256) },
            // A resume writes its line itself, with the cut.
            Event::Resumed { .. } => return None,
            Event::Dealt { dataset, sizes, partitions_sha256 } => Line::Dealt {
                dataset: Cow::Borrowed(dataset),
                sizes: Cow::Borrowed(sizes),
                partitions_sha256: text(partitions_sha256),
            },
            Event::Ready { model, program, weights_sha256 } => Line::Ready {
                model: text(&model.name),
                version: text(&model.version),
                program: Cow::Borrowed(program),
                weights_sha256: text(weights_sha256),
            },
            Event::Isolated { process, in_force } => Line::Isolation { process, in_force: Cow::Borrowed(in_force) },
            Event::StrategyIsolated(in_force) => Line::StrategyIsolation(Cow::Borrowed(in_force)),
            Event::Lost(lost) => Line::Lost(Cow::Borrowed(lost)),
            Event::RoundEnded(round) => Line::Round(Cow::Borrowed(round)),
            Event::Finished(summary) => Line::Finished(Cow::Borrowed(summary)),
        })
    }
}

/// The processor and what `nn` can use of it. The bits are the same on all that have FMA; who meets others wants to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cpu {
    name: String,
    arch: String,
    features: Vec<String>,
}

impl Cpu {
    pub(crate) fn of_this_machine() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
        };
        let known = ["fma", "avx2", "avx512f"];
        let features = field("flags").split(' ').filter(|flag| known.contains(flag)).map(str::to_owned).collect();
        Self { name: field("model name"), arch: std::env::consts::ARCH.into(), features }
    }
}
