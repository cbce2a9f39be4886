//! Everything that happens in a run, as one closed enum: the CLI draws it, the ledger writes it, tests assert on it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use fedpipe_data::{DatasetInfo, Progress};
use fedpipe_protocol::{InForce, Ready};
use serde::{Deserialize, Serialize};

use crate::{
    Cause, Error, Experiment, Finite, Program, Result, Summary,
    ledger::{Ledger, Line},
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
    /// A new dylib was not taken; the old one stays.
    ReloadRefused {
        /// The round before which it was asked for.
        round: u64,
        /// One sentence.
        reason: &'a str,
    },
    /// A step of fetching or dealing.
    Data(&'a Progress),
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
        program: &'a Program,
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
    Lost(&'a Lost),
    /// A round is over.
    RoundEnded(&'a Round),
    /// The run is over, by itself or stopped.
    Finished(&'a Summary),
}

/// A round, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u64,
    /// On the test set, 0..=1, of the new global weights.
    pub accuracy: Finite,
    /// Mean test loss of the new global weights.
    pub loss: Finite,
    /// Mean training loss over the clients' examples, each scored while it trained.
    pub training_loss: Finite,
    /// Clients whose update was aggregated.
    pub clients: u32,
    /// Sampled clients whose update was not.
    pub failed: u32,
    /// Who was aggregated, ascending; left out where it is everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<u32>,
    /// SHA-256 of the new global weights.
    pub weights_sha256: String,
    /// SHA-256 of the server's state after the round; left out where the strategy has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_sha256: Option<String>,
    /// Relative change of the global weights; none where they were all zero before.
    pub weights_change: Option<Finite>,
    /// From sampling to the end of evaluation.
    pub seconds: Finite,
}

/// A lost client process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lost {
    /// The round, none before the first.
    pub round: Option<u64>,
    /// The client whose work was lost; none where the process was idle, starting or evaluating.
    pub client: Option<u32>,
    /// The process, which is the client unless processes are pooled.
    pub process: u32,
    /// Why.
    pub cause: Cause,
    /// Seconds since the process was started.
    pub after_seconds: Finite,
    /// What follows.
    pub then: Then,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<String>,
    /// Where all of its output is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "client {client} was lost")?,
            None => write!(f, "client process {} was lost", self.process)?,
        }
        match self.round {
            Some(round) => write!(f, " in round {round}")?,
            None => write!(f, " before the first round")?,
        }
        // The cause ends the sentence, since it may end with a remedy.
        write!(f, " after {:.2} s: {}", self.after_seconds.get(), self.cause)
    }
}

/// What follows a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// A fresh process does the work again.
    Retried,
    /// Another process does the work.
    Moved,
    /// The round goes on without the client.
    Dropped,
    /// The run ends.
    Aborted,
    /// Nothing was lost; a fresh process is started when there is work.
    Replaced,
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
    pub(crate) ledger: Ledger,
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
        let written = Line::of(event).map_or(Ok(()), |line| self.ledger.append(line));
        written.map_err(|error| Error::of_record(&error))?;
        self.show(event)
    }

    /// Writes the event into the ledger alone and puts the ledger on the disk.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub(crate) fn record(&mut self, event: &Event<'_>) -> Result<()> {
        let line = Line::of(event).map_or(Ok(()), |line| self.ledger.append(line));
        let written = line.and_then(|()| self.ledger.sync());
        written.map_err(|error| Error::Output(format!("{error:#}")))
    }

    /// Tells the observer what the ledger has already.
    pub(crate) fn show(&mut self, event: &Event<'_>) -> Result<()> {
        Ok(self.observer.observe(event)?)
    }
}
