//! Writes `ledger.jsonl`, whose lines `record` describes.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use fedpipe_data::refusal;
use fedpipe_record::{
    experiment::Experiment,
    file::{read_regular, write_whole},
    line::{Cpu, Line, Position},
    names::LEDGER,
};

use crate::run::event::Event;

/// Writes the ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    position: Position,
    /// A line is missing, so that none may follow.
    broken: bool,
}

impl Ledger {
    /// A new ledger in a folder that is to be the run directory.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(LEDGER);
        let file = File::options().create_new(true).append(true).open(&path)?;
        Ok(Self { file, path, position: Position::default(), broken: false })
    }

    /// The same ledger, whose folder is now `directory`.
    pub(crate) fn moved_to(self, directory: &Path) -> Self {
        Self { path: directory.join(LEDGER), ..self }
    }

    /// The ledger of a run that goes on: cut off at `position`, with `line` after it. It appears at once, so that no state
    /// between the two is ever there.
    pub(crate) fn cut(directory: &Path, position: &Position, line: Line<'_>) -> anyhow::Result<Self> {
        let path = directory.join(LEDGER);
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

/// Returns the first line.
pub(crate) fn started_line(experiment: &Experiment) -> Line<'_> {
    let fedpipe = Cow::Borrowed(env!("CARGO_PKG_VERSION"));
    Line::Started { fedpipe, cpu: Cpu::of_this_machine(), experiment: Cow::Borrowed(experiment) }
}

/// Returns the line for an event; events that no result rests on have none.
pub(crate) fn line_of<'a>(event: &Event<'a>) -> Option<Line<'a>> {
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
        Event::Crashed(lost) => Line::Lost(Cow::Borrowed(lost)),
        Event::StrategyCrashed(crash) => Line::StrategyLost(Cow::Borrowed(crash)),
        Event::RoundEnded(round) => Line::Round(Cow::Borrowed(round)),
        Event::Finished(summary) => Line::Finished(Cow::Borrowed(summary)),
    })
}
