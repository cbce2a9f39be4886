//! The state of a run: everything that changes from round to round. A checkpoint and the summary are made of it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fedpipe_data::{DatasetInfo, DatasetTarget};
use fedpipe_protocol::{LOCAL, Layout};
use fedpipe_record::{
    by_class::ByClass,
    checkpoint::{Checkpoint, Meta},
    digest::{slots_sha256, weights_sha256},
    experiment::{ClientsSection, Experiment},
    finite::Finite,
    line::Position,
    names,
    round_line::{InitialScore, Round},
    summary::{RunFacts, Stop, Summary},
    target::{MeasuredOn, TargetScore},
    weights::safetensors,
};
use fedpipe_strategy::{
    convergence::{Convergence, relative_change},
    slots::Slots,
};

use crate::{
    error::Result,
    run::{
        client_store::ClientStore,
        clients::{Clients, InitialWeights},
        directory::RunDir,
        resume::Point,
        round::RoundResult,
        schedule::{flights::Departures, timing::RunTime, virtual_clock::Departing},
    },
};

/// The state of a run between two rounds.
#[derive(Debug)]
pub(super) struct RunState {
    dataset: String,
    target: DatasetTarget,
    weights: Arc<Vec<f32>>,
    /// The weights before the first round, if a client's own model begins with them.
    begun_with: Arc<Vec<f32>>,
    /// The score of the weights before the first round.
    initial: Option<InitialScore>,
    server: Slots,
    /// The virtual time after the last round.
    time: RunTime,
    /// The states of the clients after the last round.
    pub(super) clients: ClientStore,
    convergence: Convergence,
    /// The scores by class of the weights after the last round.
    by_class: Option<ByClass>,
    rounds: Vec<Round>,
    /// The client processes that crashed, of all sessions.
    failures: u64,
    /// The end of the last round's line in the ledger.
    recorded: Position,
    /// The last round that was handed to the saver.
    checkpointed: u64,
}

impl RunState {
    /// Returns the state before the first round.
    pub(super) fn new(
        dataset: &DatasetInfo,
        initial: InitialWeights,
        experiment: &Experiment,
        directory: &Path,
    ) -> Self {
        let weights = Arc::new(initial.weights);
        let begun_with = experiment.strategy.rules.term.own_model().map(|_| Arc::clone(&weights)).unwrap_or_default();
        Self {
            dataset: dataset.name.clone(),
            target: dataset.target.clone(),
            initial: None,
            time: RunTime::new(experiment, &weights),
            weights,
            begun_with,
            server: Slots::default(),
            clients: ClientStore::new(directory, experiment.client_slots().into_iter().chain([LOCAL])),
            convergence: Convergence::new(experiment.tolerance),
            by_class: None,
            rounds: Vec::new(),
            failures: initial.crashes,
            recorded: Position::default(),
            checkpointed: 0,
        }
    }

    /// Returns the state at which a resume continues.
    ///
    /// # Errors
    /// Returns the errors of [`ClientStore::resumed_at`] and [`RunTime::resumed`].
    pub(super) fn resumed_at(mut self, point: Point, experiment: &Experiment, now: &Clients) -> Result<Self> {
        let first = point.first_round_in_time(experiment);
        let Experiment { clients: ClientsSection { count, .. }, strategy, .. } = experiment;
        let with = |slot: &str| point.history.first_round_with(slot, *count);
        // Local tensors of the model are left by a forced change of the strategy.
        let is_of_model = !strategy.term.client_slots().contains(&LOCAL);
        let since = |slot: &str| if slot == LOCAL && is_of_model { Some(1) } else { with(slot) };
        // The server's slots of a term are made of those of the clients, and begin with them.
        let begins = strategy.term.client_slots().iter().any(|slot| with(slot).is_none());
        let named = point.checkpoint.as_ref().map(|Checkpoint { meta, .. }| (meta.round, meta.clients.clone()));
        let (round, files) = named.unwrap_or_default();
        self.clients = self.clients.resumed_at(round, files, since)?;
        self.initial = point.history.initial;
        self.failures += point.history.failures;
        if let Some(checkpoint) = point.checkpoint {
            let (server, sizes) = (&Slots::default(), &now.sizes[..]);
            let rules = now.clock.as_ref().map(|clock| Departing { experiment, clock, sizes, server, stragglers: &[] });
            let rules = rules.as_ref().map(|rules| rules as &dyn Departures);
            self.time = RunTime::resumed(experiment, (&point.history, first), &checkpoint, rules)?;
            let Checkpoint { meta, weights, server, .. } = checkpoint;
            self.rounds = point.history.rounds;
            self.rounds.iter().for_each(|round| round.observed_by(&mut self.convergence));
            self.weights = weights;
            self.server = if begins { server.only(strategy.server.slots()) } else { server };
            self.recorded = meta.ledger;
            self.checkpointed = meta.round;
        }
        Ok(self)
    }

    /// Returns the checkpoint after the last round, unless it was returned before. The checkpoint shares the weights
    /// and the server's state.
    ///
    /// # Errors
    /// Returns the errors of [`ClientStore::checkpoint`].
    pub(super) fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        let round = self.last_round();
        if round == self.checkpointed {
            return Ok(None);
        }
        self.checkpointed = round;
        let meta = Meta { round, ledger: self.recorded.clone(), clients: self.clients.checkpoint(round)? };
        let versions = self.time.earlier_versions(round);
        Ok(Some(Checkpoint { meta, weights: Arc::clone(&self.weights), server: self.server.clone(), versions }))
    }

    /// Returns the last whole round, or 0 before the first one.
    pub(super) fn last_round(&self) -> u64 {
        self.rounds.last().map_or(0, |round| round.round)
    }

    pub(super) fn next_round(&self) -> u64 {
        self.last_round() + 1
    }

    /// Returns `true` if the run has its initial weights, whose score is not known.
    pub(super) fn is_unscored(&self) -> bool {
        self.rounds.is_empty() && self.initial.is_none()
    }

    /// Sets the score of the weights before the first round.
    pub(super) fn set_initial_score(&mut self, score: InitialScore) {
        self.initial = Some(score);
    }

    /// Returns the global weights after the last round.
    pub(super) fn weights(&self) -> &Arc<Vec<f32>> {
        &self.weights
    }

    /// Returns the virtual time after the last round.
    pub(super) fn time(&self) -> &RunTime {
        &self.time
    }

    /// Returns the weights that are the result after the last round.
    pub(super) fn output(&self, experiment: &Experiment) -> &Arc<Vec<f32>> {
        experiment.strategy.output(&self.weights, &self.server)
    }

    /// Returns the weights before the first round, if the client term needs them; else no value.
    pub(super) fn begun_with(&self) -> &Arc<Vec<f32>> {
        &self.begun_with
    }

    /// Returns the server's state after the last round.
    pub(super) fn server(&self) -> &Slots {
        &self.server
    }

    pub(super) fn has_converged(&self) -> bool {
        self.convergence.reached()
    }

    /// Returns `true` if a round has reached the target.
    pub(super) fn has_reached(&self, target: TargetScore, on: MeasuredOn) -> bool {
        self.rounds.iter().any(|round| target.is_reached(on, round))
    }

    /// Sets the scores by class of the weights after the last round.
    pub(super) fn set_by_class(&mut self, scores: ByClass) {
        self.by_class = Some(scores);
    }

    /// Counts a client process that crashed.
    pub(super) fn count_crash(&mut self) {
        self.failures += 1;
    }

    /// Takes a whole round, which began at `started`, and returns its record.
    ///
    /// # Errors
    /// Returns the errors of [`ClientStore::commit`].
    pub(super) fn commit(&mut self, round: u64, result: &RoundResult, started: Instant) -> Result<&Round> {
        let change = relative_change(&self.weights, &result.weights).map(Finite::try_from);
        let clients = result.updates.len() as u32;
        let mut distinct: Vec<u32> = result.updates.iter().map(|update| update.header.client).collect();
        distinct.dedup();
        let is_partial = clients != result.of || distinct.len() < result.of as usize;
        // In virtual time a client may have several updates in a round, of which the last one has the newest state.
        let changed = result.updates.iter().filter(|update| update.changes_state());
        let changed: BTreeMap<_, _> = changed.map(|update| (update.header.client, &update.after)).collect();
        let changed: Vec<_> = changed.into_iter().collect();
        // The files come first: a full disk leaves the state before the round.
        let clients_sha256 = self.clients.commit(round, &changed)?;
        self.weights = Arc::clone(&result.weights);
        self.server = result.server.clone();
        let is_other = !Arc::ptr_eq(&result.output, &result.weights);
        let round = Round {
            round,
            accuracy: result.score.and_then(|score| score.accuracy),
            regression: result.score.and_then(|score| score.regression),
            loss: result.score.map(|score| score.loss),
            held_out: result.client_scores.held_out.clone(),
            personal: result.client_scores.personal.clone(),
            new_clients: result.client_scores.new_clients.clone(),
            training_loss: result.training_loss,
            start_loss: result.start_loss,
            learning_rate: result.learning_rate,
            clients,
            failed: result.trainings - clients,
            participants: result.updates.iter().map(|update| update.header.client).filter(|_| is_partial).collect(),
            attackers: result.attackers.clone(),
            weights_sha256: weights_sha256(&self.weights),
            output_sha256: is_other.then(|| weights_sha256(&result.output)),
            server_sha256: slots_sha256(&self.server),
            clients_sha256,
            bytes_sent: result.bytes_asked + result.updates.iter().map(|update| update.bytes_sent).sum::<u64>(),
            bytes_received: result.updates.iter().map(|update| update.bytes_received).sum(),
            bytes_of_states: changed.iter().map(|(_, state)| state.bytes_of_all()).sum(),
            update_norms: result.updates.iter().map(|update| update.norm).collect(),
            weights_change: change.and_then(std::result::Result::ok),
            seconds: started.elapsed().into(),
            virtual_seconds: result.timing.as_ref().and_then(|timing| Finite::try_from(timing.end).ok()),
            updates: result.timing.as_ref().map(|timing| timing.updates.clone()).unwrap_or_default(),
            late: result.timing.as_ref().map(|timing| timing.late.clone()).unwrap_or_default(),
        };
        if let Some(timing) = &result.timing {
            self.time.commit(round.round, timing.clone(), &self.weights);
        }
        round.observed_by(&mut self.convergence);
        self.rounds.push(round);
        Ok(&self.rounds[self.rounds.len() - 1])
    }

    /// Sets the place in the ledger at which the last round's line ends.
    pub(super) fn recorded_at(&mut self, position: &Position) {
        self.recorded = position.clone();
    }

    /// Returns the result of the run with this model, of which the named tensors stay with the clients.
    pub(super) fn summary(
        &self,
        experiment: &Experiment,
        (model, local_tensors): (&str, Vec<String>),
        stop: Stop,
        wall: Duration,
    ) -> Summary {
        let facts = RunFacts {
            model,
            dataset: &self.dataset,
            target: &self.target,
            initial: self.initial,
            by_class: self.by_class.clone(),
            local_tensors,
            weights_sha256: weights_sha256(self.output(experiment)),
            wall_seconds: wall.into(),
            failures: self.failures,
            stopped: stop,
        };
        Summary::new(experiment, &self.rounds, facts)
    }

    /// Writes the results. The summary comes last: where it is, all results are.
    pub(super) fn write_results(
        &self,
        (experiment, directory): (&Experiment, &RunDir),
        layout: &Layout,
        summary: &Summary,
    ) -> Result<()> {
        directory.write(names::FINAL_WEIGHTS, &safetensors(self.output(experiment), layout)?)?;
        directory.write(names::SUMMARY, summary.to_text()?.as_bytes())
    }
}

#[cfg(test)]
mod tests;
