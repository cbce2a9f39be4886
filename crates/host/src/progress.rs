//! How far a run has come: all that changes from round to round.

use std::{sync::Arc, time::Instant};

use fedpipe_data::counted;
use fedpipe_protocol::Layout;

use crate::{
    Convergence, Experiment, Finite, Result, Round, ServerState, Stop, Summary,
    checkpoint::{Checkpoint, Meta},
    convergence::relative_change,
    federation::{Score, Trained},
    ledger::Position,
    picture,
    resume::Point,
    run_dir::RunDir,
    safetensors, weights_sha256,
};

/// The state of a run between two rounds.
#[derive(Debug)]
pub(crate) struct Progress {
    dataset: String,
    weights: Arc<Vec<f32>>,
    server: ServerState,
    convergence: Convergence,
    rounds: Vec<Round>,
    /// The end of the last round's line in the ledger.
    recorded: Position,
    /// The last round that was handed to the saver.
    checkpointed: u64,
}

impl Progress {
    /// Before the first round.
    pub(crate) fn new(dataset: String, weights: Vec<f32>, tolerance: f64) -> Self {
        Self {
            dataset,
            weights: Arc::new(weights),
            server: ServerState::default(),
            convergence: Convergence::new(tolerance),
            rounds: Vec::new(),
            recorded: Position::default(),
            checkpointed: 0,
        }
    }

    /// Where a resume goes on.
    pub(crate) fn at(mut self, point: Point) -> Self {
        if let Some(Checkpoint { meta, weights, server }) = point.checkpoint {
            self.rounds = point.history.rounds;
            self.rounds.iter().for_each(|round| self.convergence.take(round));
            (self.weights, self.server) = (weights, server);
            (self.recorded, self.checkpointed) = (meta.ledger, meta.round);
        }
        self
    }

    /// The state after the last round, unless the last checkpoint has it.
    pub(crate) fn checkpoint(&mut self) -> Option<Checkpoint> {
        let round = self.last_round();
        if round == self.checkpointed {
            return None;
        }
        self.checkpointed = round;
        let meta = Meta { round, ledger: self.recorded.clone() };
        Some(Checkpoint { meta, weights: Arc::clone(&self.weights), server: self.server.clone() })
    }

    /// The last whole round; 0 before there is one.
    fn last_round(&self) -> u64 {
        self.rounds.last().map_or(0, |round| round.round)
    }

    pub(crate) fn next_round(&self) -> u64 {
        self.last_round() + 1
    }

    pub(crate) fn weights(&self) -> &Arc<Vec<f32>> {
        &self.weights
    }

    pub(crate) fn server_state(&self) -> &ServerState {
        &self.server
    }

    pub(crate) fn converged(&self) -> bool {
        self.convergence.reached()
    }

    /// Takes a whole round; until here a round that fails has changed nothing.
    pub(crate) fn commit(
        &mut self,
        round: u64,
        weights: Arc<Vec<f32>>,
        server: ServerState,
        trained: &Trained,
        score: Score,
        started: Instant,
    ) -> &Round {
        let change = relative_change(&self.weights, &weights).map(Finite::try_from);
        let clients = trained.updates.len() as u32;
        let partial = clients < trained.of;
        let participants = trained.updates.iter().map(|update| update.client).filter(|_| partial).collect();
        self.weights = weights;
        self.server = server;
        let round = Round {
            round,
            accuracy: score.accuracy,
            loss: score.loss,
            training_loss: trained.loss,
            clients,
            failed: trained.sampled - clients,
            participants,
            weights_sha256: weights_sha256(&self.weights),
            server_sha256: self.server.sha256(),
            weights_change: change.and_then(std::result::Result::ok),
            seconds: started.elapsed().into(),
        };
        self.convergence.take(&round);
        self.rounds.push(round);
        &self.rounds[self.rounds.len() - 1]
    }

    /// Takes note of the place in the ledger where the last round's line ends.
    pub(crate) fn recorded_at(&mut self, position: &Position) {
        self.recorded = position.clone();
    }

    /// Returns the result of the run.
    pub(crate) fn summary(
        &self,
        experiment: &Experiment,
        model: &str,
        failures: u64,
        stop: Stop,
        started: Instant,
    ) -> Summary {
        let last = self.rounds.last();
        Summary {
            model: model.to_owned(),
            client: experiment.client.clone(),
            dataset: self.dataset.clone(),
            clients: experiment.clients,
            rounds: self.last_round(),
            strategy: experiment.strategy_name(),
            partition: experiment.partition.to_string(),
            seed: experiment.seed,
            accuracy: last.map(|round| round.accuracy),
            loss: last.map(|round| round.loss),
            weights_sha256: weights_sha256(&self.weights),
            wall_seconds: started.elapsed().into(),
            failures,
            clients_dropped: self.rounds.iter().any(|round| round.failed > 0),
            stopped: stop,
        }
    }

    /// Writes the results; the summary last, so that all are there where it is.
    pub(crate) fn write_results(&self, directory: &RunDir, layout: &Layout, summary: &Summary) -> Result<()> {
        directory.write(RunDir::WEIGHTS, &safetensors(&self.weights, layout)?)?;
        if !self.rounds.is_empty() {
            let Summary { model, dataset, clients, strategy, seed, .. } = summary;
            let clients = counted(*clients, "client");
            let title = format!("{model} on {dataset}: {clients}, {strategy}, seed {seed}");
            directory.write(RunDir::PICTURE, &picture::png(&title, &self.rounds)?)?;
        }
        directory.write(RunDir::SUMMARY, summary.to_text()?.as_bytes())
    }
}
