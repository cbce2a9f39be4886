//! `ledger.jsonl`: one line of compact JSON for everything that a run's result rests on.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use fedpipe_data::DatasetInfo;
use serde::Serialize;

use crate::{Event, Experiment, Lost, Observer, Round, Summary};

/// Writes the ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    /// A new ledger in the run directory.
    pub(crate) fn create(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join("ledger.jsonl");
        Ok(Self { file: File::options().create_new(true).append(true).open(&path)?, path })
    }

    fn append(&mut self, line: &Line<'_>) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        // One write, so that a power cut tears a line at most at its end.
        self.file.write_all(&text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A line of the ledger.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Started {
        fedpipe: &'static str,
        cpu: Cpu,
        experiment: &'a Experiment,
    },
    Dealt {
        dataset: &'a DatasetInfo,
        sizes: &'a [u64],
    },
    Ready {
        model: &'a str,
        version: &'a str,
        dylib_sha256: &'a str,
        weights_sha256: &'a str,
    },
    Lost(&'a Lost),
    Round(&'a Round),
    Finished(&'a Summary),
}

impl Observer for Ledger {
    fn observe(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let line = match *event {
            Event::Data(_) | Event::RoundStarted { .. } | Event::Trained { .. } => return Ok(()),
            Event::Started { experiment, .. } => {
                Line::Started { fedpipe: env!("CARGO_PKG_VERSION"), cpu: Cpu::of_this_machine(), experiment }
            }
            Event::Dealt { dataset, sizes } => Line::Dealt { dataset, sizes },
            Event::Ready { model, dylib_sha256, weights_sha256 } => {
                Line::Ready { model: &model.name, version: &model.version, dylib_sha256, weights_sha256 }
            }
            Event::Lost(lost) => Line::Lost(lost),
            Event::RoundEnded(round) => Line::Round(round),
            Event::Finished(summary) => Line::Finished(summary),
        };
        self.append(&line)
    }
}

/// The processor and what `nn` can use of it. The bits are the same on all that have FMA; who meets others wants to know.
#[derive(Debug, Serialize)]
struct Cpu {
    name: String,
    arch: &'static str,
    features: Vec<String>,
}

impl Cpu {
    fn of_this_machine() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim()).to_owned()
        };
        let known = ["fma", "avx2", "avx512f"];
        let features = field("flags").split(' ').filter(|flag| known.contains(flag)).map(str::to_owned).collect();
        Self { name: field("model name"), arch: std::env::consts::ARCH, features }
    }
}
