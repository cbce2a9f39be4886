//! A run under way: its context, its clients, its state and its records.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use fedpipe_data::Dealt;
use fedpipe_record::{experiment::Experiment, round_line::InitialScore, summary::Stop};

use crate::{
    disk::timeline_log::Timeline,
    error::{Error, Result},
    experiment::launch::Launch,
    fleet::control::Control,
    run::{
        clients::Clients,
        directory::RunDir,
        event::{Event, Journal},
        round::{RoundResult, TestScore},
        saver::Saver,
        state::RunState,
        training::TrainingOutcome,
    },
};

/// The inputs of a run, which never change.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunContext<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) launch: &'a Launch,
    pub(super) directory: &'a RunDir,
    pub(super) control: &'a Control,
    pub(super) timeline: &'a Timeline,
}

/// A run whose clients are started and whose weights are known.
pub(super) struct ActiveRun<'a> {
    pub(super) context: RunContext<'a>,
    pub(super) clients: Clients,
    pub(super) state: RunState,
    pub(super) journal: Journal<'a>,
    /// The outcomes of trainings whose updates arrive in a later round, by client and number. They are a matter of
    /// speed: a training without one is done when its update arrives.
    pub(super) early: BTreeMap<(u32, u64), TrainingOutcome>,
    /// `true` if the state of the client term caused a warning in this session.
    pub(super) is_warned: bool,
    /// The data, which stay in the cache as long as this value lives.
    pub(super) _dealt: Dealt,
}

impl ActiveRun<'_> {
    /// Returns the reason to end before the last round: the target is reached, or the run has converged.
    pub(super) fn early_end(&self) -> Option<Stop> {
        let experiment = self.context.experiment;
        let target = experiment.until.filter(|target| target.stops);
        if target.is_some_and(|target| self.state.has_reached(target, experiment.measured_on())) {
            return Some(Stop::Reached);
        }
        (experiment.until_converged && self.state.has_converged()).then_some(Stop::Converged)
    }

    /// Returns the last round, if the run does not end early.
    pub(super) fn last_round(&self) -> u64 {
        let RunContext { experiment, launch, .. } = self.context;
        launch.ends_after.unwrap_or_else(|| experiment.last_round())
    }

    /// Scores the initial weights before the first round: round 0. A resume has the score in its ledger.
    ///
    /// # Errors
    /// Returns the errors of an evaluation.
    pub(super) fn score_initial_weights(&mut self) -> Result<()> {
        if !self.state.is_unscored() {
            return Ok(());
        }
        let weights = Arc::clone(self.state.weights());
        let TestScore { loss, accuracy, regression } = self.evaluate(0, &weights)?;
        let score = InitialScore { accuracy, regression, loss };
        self.state.set_initial_score(score);
        self.journal.emit(&Event::InitialScored(&score))
    }

    /// Records a whole round. A round that fails does not come here: it leaves weights, server state and rounds as they
    /// were.
    pub(super) fn commit(&mut self, round: u64, result: RoundResult, started: Instant) -> Result<()> {
        self.clients.keep_dylib();
        let at = self.context.timeline.now();
        self.warn(round, &result)?;
        let record = self.state.commit(round, &result, started)?;
        self.journal.emit(&Event::RoundEnded(record))?;
        self.state.recorded_at(self.journal.position());
        self.clients.reuse_buffers(result.updates);
        self.context.timeline.end_phase(at, "commit", round);
        Ok(())
    }

    /// Records the first warning of the client term about its state, once a session.
    fn warn(&mut self, round: u64, result: &RoundResult) -> Result<()> {
        let term = &self.context.experiment.strategy.rules.term;
        let Some(warning) = term.warning(&result.weights, &result.server).filter(|_| !self.is_warned) else {
            return Ok(());
        };
        self.is_warned = true;
        self.journal.emit(&Event::Warning(&format!("round {round}: the client term {term}: {warning}")))
    }

    /// Starts the thread that writes checkpoints.
    pub(super) fn start_saver(&self) -> Result<Saver> {
        let directory = self.context.directory.path();
        let saver = self
            .journal
            .ledger_handle()
            .and_then(|ledger| Saver::start(directory, ledger, self.context.timeline.clone()));
        saver.map_err(|error| Error::in_run("write", directory, &error))
    }

    /// Saves the state after the last round, unless the last checkpoint has it.
    pub(super) fn save(&mut self, saver: &mut Saver) -> Result<()> {
        let Some(checkpoint) = self.state.checkpoint()? else { return Ok(()) };
        saver.save(checkpoint).map_err(|error| Error::of_record(&error))
    }
}
