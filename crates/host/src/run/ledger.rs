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
    build::Build,
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
    /// `true` if a line could not be written, so that no line may follow.
    broken: bool,
}

impl Ledger {
    /// Creates a ledger in a folder that is to be the run directory.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(LEDGER);
        let file = File::options().create_new(true).append(true).open(&path)?;
        Ok(Self { file, path, position: Position::default(), broken: false })
    }

    /// Returns the same ledger, whose folder is now `directory`.
    pub(crate) fn moved_to(self, directory: &Path) -> Self {
        Self { path: directory.join(LEDGER), ..self }
    }

    /// Cuts off the ledger of a run that continues at `position` and appends `line`. Both happen in one step, so that
    /// no state between them is ever on the disk.
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

    /// Returns the place after the last line.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Returns another handle, through which another thread may sync the file.
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Syncs the lines to the disk.
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
                // The part of the line that a full disk took is no line of a ledger.
                let _ = self.file.set_len(self.position.bytes);
                self.broken = true;
            }
        }
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Returns the first line.
pub(crate) fn started_line(experiment: &Experiment) -> Line<'_> {
    Line::Started {
        build: Build::of_this_program(),
        cpu: Cpu::of_this_machine(),
        experiment: Cow::Borrowed(experiment),
    }
}

/// Returns the line for an event; events that no result rests on have none.
pub(crate) fn line_of<'a>(event: &Event<'a>) -> Option<Line<'a>> {
    let text = Cow::Borrowed;
    Some(match *event {
        Event::Data(_) | Event::RoundStarted { .. } | Event::TrainingBegun { .. } | Event::Trained { .. } => {
            return None;
        }
        // The run directory comes with that line.
        Event::Started { .. } => return None,
        Event::Warning(_) => return None,
        Event::ReloadRefused { round, reason } => Line::ReloadRefused { round, reason: text(reason) },
        Event::Reloaded { round, dylib_sha256 } => Line::Reloaded { round, dylib_sha256: text(dylib_sha256) },
        // A resume writes its line itself, with the cut.
        Event::Resumed { .. } => return None,
        Event::Dealt { dataset, sizes, held_out, label_counts, partitions_sha256 } => Line::Dealt {
            dataset: Cow::Borrowed(dataset),
            sizes: Cow::Borrowed(sizes),
            held_out: Cow::Borrowed(held_out),
            label_counts: Cow::Borrowed(label_counts),
            partitions_sha256: text(partitions_sha256),
        },
        Event::Ready { model, program, weights_sha256 } => Line::Ready {
            model: text(&model.name),
            version: text(&model.version),
            instruction_set: text(&model.instruction_set),
            program: Cow::Borrowed(program),
            weights_sha256: text(weights_sha256),
        },
        Event::Isolated { process, in_force } => Line::Isolation { process, in_force: Cow::Borrowed(in_force) },
        Event::StrategyIsolated(in_force) => Line::StrategyIsolation(Cow::Borrowed(in_force)),
        Event::Crashed(crash) => Line::ClientCrashed(Cow::Borrowed(crash)),
        Event::StrategyCrashed(crash) => Line::StrategyCrashed(Cow::Borrowed(crash)),
        Event::InitialScored(score) => Line::InitialScore(*score),
        Event::RoundEnded(round) => Line::Round(Cow::Borrowed(round)),
        Event::ByClass(scores) => Line::ByClass(Cow::Borrowed(scores)),
        Event::Finished(summary) => Line::Finished(Cow::Borrowed(summary)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fedpipe_record::history::History;

    use super::*;

    fn reloaded(round: u64) -> Line<'static> {
        Line::Reloaded { round, dylib_sha256: "s".into() }
    }

    #[test]
    fn a_ledger_is_read_back_and_cut_off_at_a_place() {
        let folder = tempfile::tempdir().unwrap();
        let experiment = Experiment::default();
        let mut ledger = Ledger::create(folder.path()).unwrap();
        ledger.append(started_line(&experiment)).unwrap();
        let started = ledger.position().clone();
        ledger.append(reloaded(1)).unwrap();
        assert_eq!(History::read(folder.path()).unwrap().reloads.len(), 1);
        assert!(Ledger::create(folder.path()).is_err(), "a ledger is never written over");
        let refused = Line::ReloadRefused { round: 1, reason: "no".into() };
        let mut cut = Ledger::cut(folder.path(), &started, refused).unwrap();
        cut.append(reloaded(1)).unwrap();
        let history = History::read(folder.path()).unwrap();
        assert_eq!(history.lines_after(history.started()), 2);
        assert_eq!(cut.position().bytes, fs::metadata(folder.path().join(LEDGER)).unwrap().len());
    }

    #[test]
    fn no_line_follows_one_that_could_not_be_written() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        let mut ledger = Ledger { path: "ledger".into(), file, position: Position::default(), broken: false };
        assert_eq!(ledger.append(reloaded(1)).unwrap_err().to_string(), "cannot write ledger");
        assert_eq!(ledger.position(), &Position::default());
        let again = ledger.append(reloaded(1)).unwrap_err().to_string();
        assert_eq!(again, "ledger lacks a line that could not be written");
    }

    #[test]
    fn an_event_that_no_result_rests_on_has_no_line() {
        let shown = [
            Event::RoundStarted { round: 1, sampled: &[0, 1] },
            Event::Trained { round: 1, client: 0 },
            Event::Warning("w"),
        ];
        assert!(shown.iter().all(|event| line_of(event).is_none()));
        assert!(line_of(&Event::Reloaded { round: 1, dylib_sha256: "s" }).is_some());
    }
}
