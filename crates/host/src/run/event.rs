//! The events of a run, as one closed enum. The command shows them, the ledger records them, and tests compare them.

use std::{fs::File, io, path::Path};

use fedpipe_data::{DataStep, DatasetInfo};
use fedpipe_protocol::{InForce, Ready};
use fedpipe_record::{
    by_class::ByClass,
    crash::{ClientCrash, StrategyCrash},
    experiment::Experiment,
    identity::CodeIdentity,
    line::Position,
    round_line::{InitialScore, Round},
    summary::Summary,
};

use crate::{
    error::{Error, Result},
    run::ledger::{Ledger, line_of},
};

/// An event of a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run directory is there.
    Started {
        /// The experiment of the run.
        experiment: &'a Experiment,
        /// The run directory.
        directory: &'a Path,
    },
    /// The run continues from a checkpoint, or from its start if it has none.
    Resumed {
        /// The experiment of the run.
        experiment: &'a Experiment,
        /// The run directory.
        directory: &'a Path,
        /// The last whole round.
        round: u64,
        /// The lines of the ledger after that round, which were cut off.
        cut_lines: u64,
        /// The differences that `--force` overruled.
        forced: &'a [String],
    },
    /// A defect that costs nothing, in one sentence.
    Warning(&'a str),
    /// From this round on the clients run another dylib.
    Reloaded {
        /// The round.
        round: u64,
        /// SHA-256 of the new dylib's file.
        dylib_sha256: &'a str,
    },
    /// A new dylib was refused, or its first round failed. The old dylib stays, also for that round.
    ReloadRefused {
        /// The round before which the reload was asked for.
        round: u64,
        /// One sentence.
        reason: &'a str,
    },
    /// A step of fetching or dealing.
    Data(&'a DataStep),
    /// Every client has its partition file, or has reported the size of its own partition.
    Dealt {
        /// The dataset.
        dataset: &'a DatasetInfo,
        /// Training examples of each client.
        sizes: &'a [u64],
        /// Held-out examples of each client; empty if nothing is held out.
        held_out: &'a [u64],
        /// Examples of each class, for each client; none of them if the clients have their own data.
        label_counts: &'a [Vec<u64>],
        /// SHA-256 of the list of all partitions.
        partitions_sha256: &'a str,
    },
    /// The model is loaded and its initial weights are known.
    Ready {
        /// The model.
        model: &'a Ready,
        /// The identity of the code that the clients run.
        program: &'a CodeIdentity,
        /// SHA-256 of the initial weights.
        weights_sha256: &'a str,
    },
    /// The isolation of the clients, as each client reports it.
    Isolated {
        /// The client process; none if all processes have this isolation, as on this machine.
        process: Option<u32>,
        /// The isolation.
        in_force: &'a InForce,
    },
    /// The isolation that the kernel enforces on a strategy that is a program.
    StrategyIsolated(&'a InForce),
    /// The initial weights were scored, before the first round.
    InitialScored(&'a InitialScore),
    /// A round begins.
    RoundStarted {
        /// From 1.
        round: u64,
        /// Clients that were sampled, ascending.
        sampled: &'a [u32],
    },
    /// A client is about to train.
    TrainingBegun {
        /// The round.
        round: u64,
        /// The client.
        client: u32,
    },
    /// A client's update was accepted.
    Trained {
        /// The round.
        round: u64,
        /// The client.
        client: u32,
    },
    /// A client process crashed.
    Crashed(&'a ClientCrash),
    /// The process of a strategy that is a program crashed.
    StrategyCrashed(&'a StrategyCrash),
    /// A round is over.
    RoundEnded(&'a Round),
    /// The final weights were scored by class.
    ByClass(&'a ByClass),
    /// The run has ended, by itself or by a stop.
    Finished(&'a Summary),
}

/// Takes part in a run by watching it.
pub trait Observer {
    /// Called for every event, in order, on the run's thread.
    ///
    /// # Errors
    /// An error ends the run: an observer that only shows things returns none.
    fn observe(&mut self, event: &Event<'_>) -> anyhow::Result<()>;
}

impl<F: FnMut(&Event<'_>) -> anyhow::Result<()>> Observer for F {
    fn observe(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        self(event)
    }
}

/// The receivers of a run's events: the ledger first, then the observer.
pub(crate) struct Journal<'a> {
    ledger: Ledger,
    observer: &'a mut dyn Observer,
}

impl<'a> Journal<'a> {
    pub(crate) fn new(ledger: Ledger, observer: &'a mut dyn Observer) -> Self {
        Self { ledger, observer }
    }

    /// Writes the event into the ledger, if a result rests on it, and tells the observer.
    ///
    /// # Errors
    /// Returns [`Error::Output`] if the ledger cannot be written, and the errors of the observer.
    pub(crate) fn emit(&mut self, event: &Event<'_>) -> Result<()> {
        let written = line_of(event).map_or(Ok(()), |line| self.ledger.append(line));
        written.map_err(|error| Error::of_record(&error))?;
        self.show(event)
    }

    /// Writes the event into the ledger alone and puts the ledger on the disk.
    ///
    /// # Errors
    /// Returns [`Error::Output`].
    pub(crate) fn record(&mut self, event: &Event<'_>) -> Result<()> {
        let line = line_of(event).map_or(Ok(()), |line| self.ledger.append(line));
        let written = line.and_then(|()| self.ledger.sync());
        written.map_err(|error| Error::Output(format!("{error:#}")))
    }

    /// Returns the place after the last line of the ledger.
    pub(crate) fn position(&self) -> &Position {
        self.ledger.position()
    }

    /// Returns a handle of the ledger, through which another thread may sync the file.
    pub(crate) fn ledger_handle(&self) -> io::Result<File> {
        self.ledger.handle()
    }

    /// Shows the observer an event that the ledger has already, or that has no line.
    pub(crate) fn show(&mut self, event: &Event<'_>) -> Result<()> {
        Ok(self.observer.observe(event)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_ledger_has_an_event_before_the_observer() {
        let folder = tempfile::tempdir().unwrap();
        let lines = || fs::read_to_string(folder.path().join("ledger.jsonl")).unwrap().lines().count();
        let mut seen = Vec::new();
        let mut observer = |_: &Event<'_>| {
            seen.push(lines());
            Ok(())
        };
        let mut journal = Journal::new(Ledger::create(folder.path()).unwrap(), &mut observer);
        let event = Event::Reloaded { round: 1, dylib_sha256: "s" };
        journal.emit(&event).unwrap();
        journal.record(&event).unwrap();
        journal.show(&event).unwrap();
        journal.emit(&Event::Warning("no line")).unwrap();
        assert_eq!(journal.position().bytes, fs::metadata(folder.path().join("ledger.jsonl")).unwrap().len());
        assert_eq!(seen, [1, 2, 2]);
    }

    #[test]
    fn an_observer_that_fails_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let mut observer = |_: &Event<'_>| anyhow::bail!("no more");
        let mut journal = Journal::new(Ledger::create(folder.path()).unwrap(), &mut observer);
        assert_eq!(journal.emit(&Event::Warning("w")).unwrap_err().to_string(), "no more");
    }
}
