//! Everything that happens in a run, as one closed enum: the CLI draws it, the ledger writes it, tests assert on it.

use std::{fs::File, io, path::Path};

use fedpipe_data::{DataStep, DatasetInfo};
use fedpipe_protocol::{InForce, Ready};
use fedpipe_record::{
    crash::{ClientCrash, StrategyCrash},
    experiment::Experiment,
    identity::CodeIdentity,
    line::Position,
    round::Round,
    summary::Summary,
};

use crate::{
    error::{Error, Result},
    run::ledger::{Ledger, line_of},
};

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run directory is there.
    Started {
        /// What is run.
        experiment: &'a Experiment,
        /// The run directory.
        directory: &'a Path,
    },
    /// The run goes on from a checkpoint, or from its start where it has none.
    Resumed {
        /// What is run.
        experiment: &'a Experiment,
        /// The run directory.
        directory: &'a Path,
        /// The last whole round.
        round: u64,
        /// Lines of the ledger that came later and were cut off.
        cut_lines: u64,
        /// What was overruled with `--force`.
        forced: &'a [String],
    },
    /// Something that is not as it should be, but costs nothing; one sentence.
    Warning(&'a str),
    /// From this round on the clients run another dylib.
    Reloaded {
        /// The round.
        round: u64,
        /// SHA-256 of the new dylib's file.
        dylib_sha256: &'a str,
    },
    /// A new dylib was not taken, or its first round failed: the old one stays, also for that round.
    ReloadRefused {
        /// The round before which it was asked for.
        round: u64,
        /// One sentence.
        reason: &'a str,
    },
    /// A step of fetching or dealing.
    Data(&'a DataStep),
    /// Every client has its partition file, or has said how many examples its own has.
    Dealt {
        /// The dataset.
        dataset: &'a DatasetInfo,
        /// Examples of each client.
        sizes: &'a [u64],
        /// SHA-256 of the list of all partitions.
        partitions_sha256: &'a str,
    },
    /// The model is loaded and its initial weights are known.
    Ready {
        /// The model.
        model: &'a Ready,
        /// What the clients run.
        program: &'a CodeIdentity,
        /// SHA-256 of the initial weights.
        weights_sha256: &'a str,
    },
    /// Tells the isolation of the clients, by the word of each.
    Isolated {
        /// The client process; none where it is what all have, as those of this machine.
        process: Option<u32>,
        /// The isolation.
        in_force: &'a InForce,
    },
    /// What the kernel enforces on a strategy that is a program.
    StrategyIsolated(&'a InForce),
    /// A round begins.
    RoundStarted {
        /// From 1.
        round: u64,
        /// Clients that were sampled.
        sampled: u32,
    },
    /// A client's update was accepted.
    Trained {
        /// The round.
        round: u64,
        /// Whose.
        client: u32,
    },
    /// A client process was lost.
    Crashed(&'a ClientCrash),
    /// The process of a strategy that is a program was lost.
    StrategyCrashed(&'a StrategyCrash),
    /// A round is over.
    RoundEnded(&'a Round),
    /// The run is over, by itself or stopped.
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

/// Who hears of a run: the ledger first, then the observer.
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
    /// [`Error::Output`] where the ledger cannot be written; those of the observer.
    pub(crate) fn tell(&mut self, event: &Event<'_>) -> Result<()> {
        let written = line_of(event).map_or(Ok(()), |line| self.ledger.append(line));
        written.map_err(|error| Error::of_record(&error))?;
        self.show(event)
    }

    /// Writes the event into the ledger alone and puts the ledger on the disk.
    ///
    /// # Errors
    /// [`Error::Output`].
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

    /// Tells the observer what the ledger has already.
    pub(crate) fn show(&mut self, event: &Event<'_>) -> Result<()> {
        Ok(self.observer.observe(event)?)
    }
}
