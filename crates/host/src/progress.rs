//! How far a run has come: all that changes from round to round.

use std::{sync::Arc, time::Instant};

use crate::{
    Convergence, Experiment, Result, Round, ServerState, Stop, Summary,
    checkpoint::{Checkpoint, Meta},
    federation::{Federation, Score, Trained},
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
        }
    }

    /// Where a resume goes on.
    pub(crate) fn at(mut self, point: Point) -> Self {
        if let Some(Checkpoint { meta, weights, server }) = point.checkpoint {
            let rounds = point.history.rounds.into_iter().filter(|round| round.round <= meta.round).collect();
            let convergence = self.convergence.going_on_from(meta.convergence);
            self = Self { weights, server, convergence, rounds, dataset: self.dataset };
        }
        self
    }

    /// The state after the last round; `ledger` is where its line ends.
    pub(crate) fn checkpoint(&self, ledger: Position, failures: u64) -> Checkpoint {
        let round = self.next_round() - 1;
        let meta = Meta { round, ledger, failures, convergence: self.convergence.clone() };
        Checkpoint { meta, weights: Arc::clone(&self.weights), server: self.server.clone() }
    }

    pub(crate) fn next_round(&self) -> u64 {
        self.rounds.last().map_or(1, |round| round.round + 1)
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
        let change = self.convergence.observe(&self.weights, &weights, trained.loss);
        let clients = trained.updates.len() as u32;
        let partial = clients < trained.of;
        let participants = trained.updates.iter().map(|update| update.client).filter(|_| partial).collect();
        self.weights = weights;
        self.server = server;
        self.rounds.push(Round {
            round,
            accuracy: score.accuracy,
            loss: score.loss,
            training_loss: trained.loss,
            clients,
            failed: trained.sampled - clients,
            participants,
            weights_sha256: weights_sha256(&self.weights),
            weights_change: Some(change.weights).filter(|change| change.is_finite()),
            seconds: started.elapsed().as_secs_f64(),
        });
        &self.rounds[self.rounds.len() - 1]
    }

    /// Writes what the run came to.
    pub(crate) fn finish(
        &self,
        experiment: &Experiment,
        federation: &Federation<'_>,
        directory: &RunDir,
        stop: Stop,
        started: Instant,
    ) -> Result<Summary> {
        let model = &federation.model()?.name;
        let last = self.rounds.last();
        let summary = Summary {
            model: model.clone(),
            client: experiment.client.clone(),
            dataset: self.dataset.clone(),
            clients: experiment.clients,
            rounds: last.map_or(0, |round| round.round),
            strategy: experiment.strategy_name(),
            partition: experiment.partition.to_string(),
            seed: experiment.seed,
            accuracy: last.map(|round| round.accuracy),
            loss: last.map(|round| round.loss),
            weights_sha256: weights_sha256(&self.weights),
            wall_seconds: started.elapsed().as_secs_f64(),
            failures: federation.failures,
            clients_dropped: self.rounds.iter().any(|round| round.failed > 0),
            stopped: stop,
        };
        directory.write("model.safetensors", &safetensors(&self.weights, federation.layout()?)?)?;
        if !self.rounds.is_empty() {
            let Summary { dataset, clients, strategy, .. } = &summary;
            let title = format!("{model} on {dataset}: {clients} clients, {strategy}, seed {}", experiment.seed);
            directory.write("result.png", &picture::png(&title, &self.rounds)?)?;
        }
        let text = serde_json::to_string_pretty(&summary).map_err(anyhow::Error::from)?;
        directory.write("summary.json", format!("{text}\n").as_bytes())?;
        Ok(summary)
    }
}
