//! One round: samples clients, sends them the weights, has them train, aggregates their updates and evaluates the
//! result.

use std::sync::Arc;

use fedpipe_protocol::{Ability, BlockSums, EVALUATION_BLOCK, Evaluate, FailureKind, Parts, Reply, Request};
use fedpipe_record::{
    cause::Cause,
    finite::{Finite, NotFinite},
    regression::Regression,
};
use fedpipe_strategy::{
    closed_round::{ClientUpdate, ClosedRound, order_key},
    slots::Slots,
};

use crate::{
    error::{Error, Result},
    experiment::processes::processes_a_job,
    fleet::job::{Check, Incident, Job, Settled, Submitter},
    run::{
        active::ActiveRun,
        aggregate::AllCores,
        client_scoring::{OwnValues, RoundScores},
        clients::Clients,
        evaluation_answers::{self, ExpectedScores},
        event::{Event, Journal},
        external_strategy::Before,
        real_target,
        schedule::{
            job_batch::{InOrder, JobBatch},
            timing::RoundTiming,
        },
        state::RunState,
        training::TrainedRound,
    },
};

/// The result of a round.
#[derive(Debug)]
pub(super) struct RoundResult {
    /// The updates in client order, at least the quorum.
    pub(super) updates: Vec<ClientUpdate>,
    /// The number of trainings.
    pub(super) trainings: u32,
    /// The clients that attacked, ascending.
    pub(super) attackers: Vec<u32>,
    /// The virtual times, if the experiment has a clock.
    pub(super) timing: Option<RoundTiming>,
    /// All clients of the run.
    pub(super) of: u32,
    /// The bytes of weights that a federation would send to clients which the losses did not choose.
    pub(super) bytes_asked: u64,
    /// The mean training loss over the examples of all updates; none in a round without a client.
    pub(super) training_loss: Option<Finite>,
    /// The mean loss of the weights that the clients received, if it was asked for.
    pub(super) start_loss: Option<Finite>,
    /// The local learning rate, unless all rounds have the same.
    pub(super) learning_rate: Option<f32>,
    /// The global weights after the round.
    pub(super) weights: Arc<Vec<f32>>,
    /// The weights that were scored, which are the result of a run that ends with the round.
    pub(super) output: Arc<Vec<f32>>,
    /// The server's state after the round.
    pub(super) server: Slots,
    /// The score of the output; `None` if tensors stay with the clients.
    pub(super) score: Option<TestScore>,
    pub(super) client_scores: RoundScores,
}

/// The clients of a round.
#[derive(Debug)]
pub(super) struct Sample {
    /// The clients, ascending.
    pub(super) clients: Vec<u32>,
    /// The bytes of weights that a federation would send to the other clients.
    pub(super) bytes_asked: u64,
}

impl From<Vec<u32>> for Sample {
    fn from(clients: Vec<u32>) -> Self {
        Self { clients, bytes_asked: 0 }
    }
}

/// The mean loss over the test set, and the accuracy or the errors of a real target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TestScore {
    pub(crate) loss: Finite,
    pub(crate) accuracy: Option<Finite>,
    pub(crate) regression: Option<Regression>,
}

impl ActiveRun<'_> {
    /// Does a round. It changes neither the weights nor the server's state nor the list of rounds, but counts crashes.
    /// If the first round with another dylib fails, the round is done again with the dylib before.
    pub(super) fn round(&mut self, round: u64) -> Result<RoundResult> {
        match self.attempt(round) {
            Err(Error::Round(why)) if self.revert_reload(round, &why)? => self.attempt(round),
            attempted => attempted,
        }
    }

    fn attempt(&mut self, round: u64) -> Result<RoundResult> {
        let timeline = self.context.timeline;
        timeline.begin_round(round);
        let at = timeline.now();
        let Sample { clients: sampled, bytes_asked } = self.sample(round)?;
        timeline.end_phase(at, "sample", round);
        let at = timeline.now();
        let TrainedRound { mut updates, trainings, attackers, timing } = self.train(round, &sampled)?;
        timeline.end_phase(at, "train", round);
        let training_loss = (!updates.is_empty())
            .then(|| training_loss(&updates))
            .transpose()
            .map_err(|error| Error::Round(format!("round {round} failed: the training loss {error}")))?;
        let start_loss = start_loss(&updates)
            .map_err(|error| Error::Round(format!("round {round} failed: the loss before the training {error}")))?;
        let at = timeline.now();
        let (weights, server) = self.aggregate(round, &mut updates)?;
        let weights = Arc::new(weights);
        timeline.end_phase(at, "aggregate", round);
        let at = timeline.now();
        let output = Arc::clone(self.context.experiment.strategy.output(&weights, &server));
        let score = self.score(round, &updates, &output)?;
        if score.is_some() {
            timeline.end_phase(at, "evaluate", round);
        }
        let at = timeline.now();
        let client_scores = self.score_clients(round, &updates, &output)?;
        if client_scores.is_some() {
            timeline.end_phase(at, "score clients", round);
        }
        let experiment = self.context.experiment;
        Ok(RoundResult {
            trainings,
            attackers,
            timing,
            of: experiment.clients.count,
            bytes_asked,
            training_loss,
            start_loss,
            learning_rate: (!experiment.local.lr_schedule.is_constant()).then(|| experiment.learning_rate(round)),
            updates,
            weights,
            output,
            server,
            score,
            client_scores,
        })
    }

    /// Returns the clients that take part in a round. A run that repeats another run has the same participants.
    fn sample(&mut self, round: u64) -> Result<Sample> {
        let experiment = self.context.experiment;
        if self.clients.program.is_none() && experiment.strategy.sampler.asks_losses() {
            return self.choose(round);
        }
        let Self { clients, state, journal, context, .. } = self;
        if let Some(replayed) = context.launch.replay.get(&round) {
            return Ok(replayed.clone().into());
        }
        if !experiment.strategy.rules.is_synchronous() {
            // Clients begin one by one, whatever the round.
            return Ok(Vec::new().into());
        }
        match clients.program.as_mut().filter(|program| program.can(Ability::Sample)) {
            Some(program) => {
                let learning_rate = experiment.learning_rate(round);
                let before = Before { round, learning_rate, server: state.server(), weights: state.weights() };
                let asked = (experiment.clients.count, experiment.sampled_clients());
                let emit = &mut |crash: &_| journal.emit(&Event::StrategyCrashed(crash));
                Ok(program.sample(&before, asked, emit)?.into())
            }
            None => Ok(experiment.sample(round, &clients.sizes).into()),
        }
    }

    /// Returns the global weights and the server's state after a round with these updates. The program of a strategy
    /// also updates the states of the clients.
    fn aggregate(&mut self, round: u64, updates: &mut [ClientUpdate]) -> Result<(Vec<f32>, Slots)> {
        if updates.is_empty() {
            return Ok((self.state.weights().to_vec(), self.state.server().clone()));
        }
        let adds_on_arrival = self.adds_on_arrival();
        let local: Vec<_> = self.clients.layout()?.local_ranges().collect();
        let Self { clients, state, journal, context, .. } = self;
        let learning_rate = context.experiment.learning_rate(round);
        if let Some(program) = &mut clients.program {
            let mut emit = |crash: &_| journal.emit(&Event::StrategyCrashed(crash));
            let before = Before { round, learning_rate, server: state.server(), weights: state.weights() };
            let (mut weights, slots) = program.apply(&before, updates, &mut emit)?;
            // Each client has its own values of the local tensors, and the global weights keep the initial ones.
            local.into_iter().for_each(|range| weights[range.clone()].copy_from_slice(&before.weights[range]));
            return Ok((weights, slots));
        }
        let (received, all, layout) = (state.weights(), context.experiment.training_clients(), clients.layout()?);
        let key = order_key(context.experiment.seed.0, round);
        let closed = |updates| ClosedRound { received, updates, clients: all, learning_rate, layout, key };
        let strategy = &context.experiment.strategy.rules;
        let applied = if adds_on_arrival {
            strategy.apply_aggregate(closed(&mut []), &clients.mean.mean(), state.server(), &AllCores)
        } else {
            strategy.apply(closed(updates), state.server(), &AllCores)
        };
        applied.map_err(|overflow| Error::Round(format!("round {round} failed: the strategy {strategy} {overflow}")))
    }

    /// Scores `weights` on the test set. Each process scores some blocks, whose sums are added in block order. Where
    /// each client has its own test examples, the score is over those of all clients that train.
    pub(super) fn evaluate(&mut self, round: u64, weights: &Arc<Vec<f32>>) -> Result<TestScore> {
        if !self.context.experiment.has_test_set() {
            return self.score_all_clients(round, weights, &OwnValues::default());
        }
        let settled = self.score_test_set(round, self.evaluate_jobs(weights))?;
        let sums = sums_of(settled).map_err(|cause| {
            let origin = self.origin(&cause);
            Error::Round(format!("round {round} could not be evaluated{origin}: {cause}"))
        })?;
        test_score(&sums, self.clients.test_examples)
            .map_err(|error| Error::Round(format!("round {round} could not be evaluated: the test loss {error}")))
    }

    /// Has the processes do jobs that score the test set, and returns their results in the same order.
    pub(super) fn score_test_set(&mut self, round: u64, jobs: Vec<Job>) -> Result<Vec<Settled>> {
        let Clients { test_examples: examples, target, .. } = self.clients;
        let remedy = self.clients.remedy.clone();
        let check: Arc<Check> = Arc::new(move |job: &Job, reply: &Reply, parts: &mut Parts, _: usize| {
            evaluation_answers::evaluated(job, reply, parts, &ExpectedScores { examples, target, remedy: &remedy })
        });
        let settled = self.work(round, jobs, &check);
        // The isolation is recorded even if the work failed.
        let recorded = self.clients.record_isolation(&mut self.journal);
        settled.and_then(|settled| recorded.map(|()| settled))
    }

    /// Returns the jobs that score the test set, each with a range of its blocks.
    pub(super) fn evaluate_jobs(&self, weights: &Arc<Vec<f32>>) -> Vec<Job> {
        let fleet = &self.clients.fleet;
        let blocks = self.clients.test_examples.div_ceil(EVALUATION_BLOCK as u64) as u32;
        let spread = processes_a_job(self.context.experiment) as usize * fleet.at_once();
        let job = |(slot, blocks): (usize, Vec<u32>)| Job {
            slot,
            client: None,
            request: Request::Evaluate(Evaluate::test(blocks)),
            weights: Some(Arc::clone(weights)),
            parts: Vec::new(),
            only_scores: false,
        };
        shares(blocks, spread.min(fleet.len()) as u32).into_iter().enumerate().map(job).collect()
    }

    /// Returns a phrase that names the strategy, if the strategy may be the cause of a model's error. The model's error
    /// advises only on training, and the strategy may have made the bad weights.
    pub(super) fn origin(&self, cause: &Cause) -> String {
        let strategy = &self.context.experiment.strategy.rules;
        match (strategy.is_plain(), cause) {
            (true, _) => String::new(),
            (_, Cause::Reported { failure: FailureKind::Model, .. }) => {
                format!(" from the weights of --strategy {strategy}")
            }
            _ => String::new(),
        }
    }

    /// Has the processes do `jobs`, and returns their results in the same order.
    fn work(&mut self, round: u64, jobs: Vec<Job>, check: &Arc<Check>) -> Result<Vec<Settled>> {
        let Self { clients: Clients { fleet, .. }, state, journal, .. } = self;
        let mut recorder = Recorder { round, state, journal };
        let (mut in_order, mut all) = (InOrder::default(), Vec::with_capacity(jobs.len()));
        let batch = JobBatch::submit(fleet, jobs, check);
        while let Some((index, job)) = batch.next(fleet, round, &mut recorder)? {
            all.extend(in_order.arrive(index, job.settled));
        }
        Ok(all)
    }
}

/// Records each crash and each update of a round.
pub(super) struct Recorder<'r, 'j> {
    pub(super) round: u64,
    pub(super) state: &'r mut RunState,
    pub(super) journal: &'r mut Journal<'j>,
}

impl Submitter for Recorder<'_, '_> {
    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
        if let Incident::Done(Job { client: Some(client), .. }) = incident {
            return self.journal.emit(&Event::Trained { round: self.round, client: *client });
        }
        record_crash(&incident, self.state, self.journal)
    }
}

/// Counts and records a crash; no other incident leaves a trace.
pub(super) fn record_crash(incident: &Incident<'_>, state: &mut RunState, journal: &mut Journal<'_>) -> Result<()> {
    let Incident::Crashed(crash) = incident else { return Ok(()) };
    state.count_crash();
    journal.emit(&Event::Crashed(crash))
}

/// Returns the mean training loss over the examples of all updates.
fn training_loss(updates: &[ClientUpdate]) -> std::result::Result<Finite, NotFinite> {
    let loss_sum = updates.iter().fold(0.0, |sum, update| sum + update.header.loss_sum);
    mean(loss_sum, updates.iter().map(|update| update.header.scored).sum())
}

/// Returns the mean loss of the received weights over the rows that the clients scored; `None` if they scored none.
fn start_loss(updates: &[ClientUpdate]) -> std::result::Result<Option<Finite>, NotFinite> {
    let scores: Vec<_> = updates.iter().filter_map(|update| update.header.start).collect();
    let loss_sum = scores.iter().fold(0.0, |sum, score| sum + score.loss_sum);
    let examples = scores.iter().map(|score| score.examples).sum();
    (!scores.is_empty()).then(|| mean(loss_sum, examples)).transpose()
}

/// Splits the blocks of the test set into ranges for at most `most` processes, none of which is empty.
pub(crate) fn shares(blocks: u32, most: u32) -> Vec<Vec<u32>> {
    let count = most.min(blocks);
    let start = |share: u32| (u64::from(blocks) * u64::from(share) / u64::from(count)) as u32;
    (0..count).map(|share| (start(share)..start(share + 1)).collect()).collect()
}

/// Returns the sums of all blocks in block order, or the cause of the first process that failed.
pub(crate) fn sums_of(settled: Vec<Settled>) -> std::result::Result<Vec<BlockSums>, Cause> {
    let mut sums = Vec::new();
    for outcome in settled {
        match outcome {
            Ok((Reply::Evaluated { blocks }, _)) => sums.extend(blocks),
            Ok(_) => {}
            Err(exit) => return Err(exit.cause),
        }
    }
    Ok(sums)
}

/// Returns the score that the sums of all blocks give.
pub(crate) fn test_score(sums: &[BlockSums], examples: u64) -> std::result::Result<TestScore, NotFinite> {
    let loss_sum = sums.iter().fold(0.0, |sum, block| sum + block.loss_sum);
    let correct: u64 = sums.iter().map(|block| block.correct).sum();
    let regression = real_target::regression(sums, examples)?;
    let accuracy = regression.is_none().then(|| mean(correct as f64, examples)).transpose()?;
    Ok(TestScore { loss: mean(loss_sum, examples)?, accuracy, regression })
}

/// Returns the mean over some examples. Each summand of `sum` was checked, so that the mean is finite if there are any.
fn mean(sum: f64, examples: u64) -> std::result::Result<Finite, NotFinite> {
    Finite::try_from(sum / examples as f64)
}

#[cfg(test)]
mod tests;
