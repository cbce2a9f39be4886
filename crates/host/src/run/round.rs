//! One round: samples clients, sends them the weights, has them train, aggregates their updates and evaluates the
//! result.

use std::{ops::Range, sync::Arc};

use fedpipe_data::counted;
use fedpipe_protocol::{
    Ability, BlockSums, EVALUATION_BLOCK, Evaluate, FailureKind, LINEAR, LOCAL, Parts, Reply, Request, ScoreStart,
    Train, Update, WEIGHTS,
};
use fedpipe_record::{
    cause::Cause,
    experiment::Experiment,
    finite::{Finite, NotFinite},
};
use fedpipe_strategy::{
    local_optimiser::to_json,
    slots::Slots,
    strategy,
    term::{Given, Prepared},
};

use crate::{
    error::{Error, Result},
    experiment::processes::processes_a_job,
    fleet::{Check, Incident, Job, Settled},
    run::{
        active::ActiveRun,
        aggregate::{AllCores, ClientUpdate},
        answers::{self, Expected},
        event::Event,
        external_strategy::{Before, ClientPlan},
    },
};

/// The result of a round.
#[derive(Debug)]
pub(super) struct RoundResult {
    /// The updates in client order, at least the quorum.
    pub(super) updates: Vec<ClientUpdate>,
    /// The clients that were sampled.
    pub(super) sampled: u32,
    /// All clients of the run.
    pub(super) of: u32,
    /// The mean training loss over the examples of all updates.
    pub(super) training_loss: Finite,
    /// The mean loss of the weights that the clients received, if it was asked for.
    pub(super) start_loss: Option<Finite>,
    /// The global weights after the round.
    pub(super) weights: Arc<Vec<f32>>,
    /// The server's state after the round.
    pub(super) server: Slots,
    pub(super) score: TestScore,
}

/// The mean loss and the accuracy over the test set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TestScore {
    pub(super) loss: Finite,
    pub(super) accuracy: Finite,
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
        let sampled = self.sample(round)?;
        let mut updates = self.train(round, &sampled)?;
        let training_loss = training_loss(&updates)
            .map_err(|error| Error::Round(format!("round {round} failed: the training loss {error}")))?;
        let start_loss = start_loss(&updates)
            .map_err(|error| Error::Round(format!("round {round} failed: the loss before the training {error}")))?;
        let (weights, server) = self.aggregate(round, &mut updates)?;
        let weights = Arc::new(weights);
        let score = self.evaluate(round, &weights)?;
        let (sampled, of) = (sampled.len() as u32, self.context.experiment.clients);
        Ok(RoundResult { updates, sampled, of, training_loss, start_loss, weights, server, score })
    }

    /// Returns the clients that take part in a round. A run that repeats another run has the same participants.
    fn sample(&mut self, round: u64) -> Result<Vec<u32>> {
        let Self { clients, state, journal, context, .. } = self;
        if let Some(replayed) = context.launch.replay.get(&round) {
            return Ok(replayed.clone());
        }
        let experiment = context.experiment;
        match clients.program.as_mut().filter(|program| program.can(Ability::Sample)) {
            Some(program) => {
                let before = Before { round, server: state.server(), weights: state.weights() };
                let asked = (experiment.clients, experiment.sampled_clients());
                program.sample(&before, asked, &mut |crash| journal.tell(&Event::StrategyCrashed(crash)))
            }
            None => Ok(experiment.sample(round)),
        }
    }

    /// Has the `sampled` clients train from the global weights, and returns their updates in client order.
    fn train(&mut self, round: u64, sampled: &[u32]) -> Result<Vec<ClientUpdate>> {
        self.journal.tell(&Event::RoundStarted { round, sampled: sampled.len() as u32 })?;
        let plans = sampled.iter().map(|&client| self.plan(round, client)).collect::<Result<Vec<_>>>()?;
        let (jobs, states): (Vec<Job>, Vec<Slots>) = plans.into_iter().unzip();
        let check = self.update_check()?;
        let settled = self.work(round, jobs, &check)?;
        let (updates, first_failure) = self.updates_of(settled, states)?;
        let quorum = self.context.experiment.quorum();
        if updates.len() >= quorum as usize {
            return Ok(updates);
        }
        let cause = first_failure.map_or(String::new(), |cause| format!("{}: {cause}", self.origin(&cause)));
        let (got, sampled) = (updates.len(), counted(sampled.len(), "client"));
        Err(Error::Round(format!(
            "round {round} failed: {got} of {sampled} returned an update (quorum {quorum}){cause}"
        )))
    }

    /// Returns the check of an update.
    fn update_check(
        &self,
    ) -> Result<impl Fn(&Job, &Reply, &mut Parts, usize) -> std::result::Result<(), Cause> + 'static> {
        let (sizes, remedy) = (self.clients.sizes.clone(), self.clients.remedy.clone());
        let local: Vec<_> = self.clients.layout()?.local_ranges().collect();
        let needs_accumulation = self.context.experiment.strategy.needs_accumulation();
        Ok(move |job: &Job, reply: &Reply, parts: &mut Parts, weights: usize| {
            let expected = Expected { weights, sizes: &sizes, local: &local, needs_accumulation, remedy: &remedy };
            answers::update(job, reply, parts, &expected)
        })
    }

    /// Returns the request for a client, and the client's state before the round.
    fn plan(&mut self, round: u64, client: u32) -> Result<(Job, Slots)> {
        let Experiment { batch_size, lr, until_converged, ref optimiser, ref strategy, .. } = *self.context.experiment;
        let state = self.state.clients.state_of(client)?;
        let ClientPlan { phases, mut parts } = self.prepare(round, client, &state)?;
        let transform = Some(&strategy.transform).filter(|transform| !transform.is_none());
        let train = Train {
            client,
            round,
            batch_size,
            learning_rate: lr,
            optimiser: to_json(optimiser),
            phases,
            transform: transform.map(ToString::to_string),
            score_start: until_converged.then_some(ScoreStart::Rows),
            weights_version: 0,
        };
        parts.extend(state.vector(LOCAL).map(|local| (LOCAL.to_owned(), Arc::clone(local))));
        let job = Job {
            slot: client as usize % self.clients.fleet.len(),
            client: Some(client),
            request: Request::Train(train),
            weights: Some(Arc::clone(self.state.weights())),
            parts,
        };
        Ok((job, state))
    }

    /// Returns the phases of a client's training: those of the strategy's program, or of the client term.
    fn prepare(&mut self, round: u64, client: u32, held: &Slots) -> Result<ClientPlan> {
        let Self { clients, state, journal, .. } = self;
        if let Some(program) = clients.program.as_mut().filter(|program| program.can(Ability::Prepare)) {
            let before = Before { round, server: state.server(), weights: state.weights() };
            let mut tell = |crash: &_| journal.tell(&Event::StrategyCrashed(crash));
            return program.prepare(&before, client, held, &mut tell);
        }
        let given = self.given(self.state.weights(), held);
        let Prepared { phases, linear } = self.context.experiment.strategy.term.prepare(&given);
        Ok(ClientPlan { phases, parts: linear.map(|linear| (LINEAR.to_owned(), linear)).into_iter().collect() })
    }

    /// Returns the facts that the client term may use.
    fn given<'g>(&'g self, weights: &'g [f32], client: &'g Slots) -> Given<'g> {
        let Experiment { epochs, lr, .. } = *self.context.experiment;
        Given { weights, server: self.state.server(), client, epochs, learning_rate: lr }
    }

    /// Returns the updates of a round, and the cause of the first client that returned none.
    fn updates_of(
        &self,
        settled: Vec<(Job, Settled)>,
        states: Vec<Slots>,
    ) -> Result<(Vec<ClientUpdate>, Option<Cause>)> {
        let mut updates = Vec::with_capacity(settled.len());
        let mut first_failure = None;
        let local: Vec<_> = self.clients.layout()?.local_ranges().collect();
        for ((job, outcome), before) in settled.into_iter().zip(states) {
            match outcome {
                Ok((Reply::Update(header), mut parts)) => {
                    let weights = parts.take_f32(WEIGHTS).unwrap_or_default();
                    updates.push(self.accept(&job, header, weights, (before, &local)));
                }
                Ok(_) => {}
                Err(exit) => first_failure = first_failure.or(Some(exit.cause)),
            }
        }
        Ok((updates, first_failure))
    }

    /// Returns an update with the client's state after it.
    fn accept(
        &self,
        job: &Job,
        header: Update,
        weights: Vec<f32>,
        (before, local): (Slots, &[Range<usize>]),
    ) -> ClientUpdate {
        let strategy = &self.context.experiment.strategy;
        let start = job.start(local);
        let mut after = strategy.term.accept(&self.given(&start, &before), &header, &weights);
        if !local.is_empty() {
            after.set_vector(LOCAL, local.iter().flat_map(|range| &weights[range.clone()]).copied().collect());
        }
        let vector = size_of_val(weights.as_slice()) as u64;
        let sent = 1 + job.parts.iter().filter(|(name, _)| name != LOCAL).count() as u64;
        let (bytes_sent, bytes_received) = (sent * vector, strategy.transform.payload(weights.len()));
        ClientUpdate { header, weights, before, after, bytes_sent, bytes_received }
    }

    /// Returns the global weights and the server's state after a round with these updates. The program of a strategy
    /// moves the states of the clients, too.
    fn aggregate(&mut self, round: u64, updates: &mut [ClientUpdate]) -> Result<(Vec<f32>, Slots)> {
        let Self { clients, state, journal, context, .. } = self;
        if let Some(program) = &mut clients.program {
            let mut tell = |crash: &_| journal.tell(&Event::StrategyCrashed(crash));
            let before = Before { round, server: state.server(), weights: state.weights() };
            return program.apply(&before, updates, &mut tell);
        }
        let updates: Vec<_> = updates.iter().map(|update| (&update.header, update.accepted())).collect();
        let (received, all, layout) = (state.weights(), context.experiment.clients, clients.layout()?);
        let settled = strategy::Round { received, updates: &updates, clients: all, layout };
        let strategy = &context.experiment.strategy;
        strategy
            .apply(&settled, state.server(), &AllCores)
            .map_err(|overflow| Error::Round(format!("round {round} failed: the strategy {strategy} {overflow}")))
    }

    /// Scores `weights` on the test set. Each process scores some blocks, whose sums are added in block order.
    pub(super) fn evaluate(&mut self, round: u64, weights: &Arc<Vec<f32>>) -> Result<TestScore> {
        let test_examples = self.clients.test_examples;
        let remedy = self.clients.remedy.clone();
        let check = move |job: &Job, reply: &Reply, parts: &mut Parts, _: usize| {
            answers::blocks(job, reply, parts, test_examples, &remedy)
        };
        let settled = self.work(round, self.evaluate_jobs(weights), &check)?;
        let sums = sums_of(settled.into_iter().map(|(_, settled)| settled).collect()).map_err(|cause| {
            let origin = self.origin(&cause);
            Error::Round(format!("round {round} could not be evaluated{origin}: {cause}"))
        })?;
        test_score(&sums, test_examples)
            .map_err(|error| Error::Round(format!("round {round} could not be evaluated: the test loss {error}")))
    }

    /// Returns the jobs that score the test set, each with a range of its blocks.
    fn evaluate_jobs(&self, weights: &Arc<Vec<f32>>) -> Vec<Job> {
        let fleet = &self.clients.fleet;
        let blocks = self.clients.test_examples.div_ceil(EVALUATION_BLOCK as u64) as u32;
        let spread = processes_a_job(self.context.experiment) as usize * fleet.at_once();
        let job = |(slot, blocks): (usize, Vec<u32>)| Job {
            slot,
            client: None,
            request: Request::Evaluate(Evaluate::test(blocks)),
            weights: Some(Arc::clone(weights)),
            parts: Vec::new(),
        };
        shares(blocks, spread.min(fleet.len()) as u32).into_iter().enumerate().map(job).collect()
    }

    /// Returns a phrase that names the strategy, if the strategy may be the cause of a model's error. The advice in
    /// that error is only about training, and the weights may have been wrong before.
    fn origin(&self, cause: &Cause) -> String {
        let strategy = &self.context.experiment.strategy;
        match (strategy.is_plain(), cause) {
            (true, _) => String::new(),
            (_, Cause::Reported { failure: FailureKind::Model, .. }) => {
                format!(" from the weights of --strategy {strategy}")
            }
            _ => String::new(),
        }
    }

    /// Has the processes do `jobs`, and records each crash and each update.
    fn work(&mut self, round: u64, jobs: Vec<Job>, check: &Check<'_>) -> Result<Vec<(Job, Settled)>> {
        let Self { clients, state, journal, .. } = self;
        let settled = clients.fleet.do_jobs(Some(round), jobs, check, &mut |incident| match incident {
            Incident::Crashed(crash) => {
                state.count_crash();
                journal.tell(&Event::Crashed(&crash))
            }
            Incident::Done(Job { client: Some(client), .. }) => {
                journal.tell(&Event::Trained { round, client: *client })
            }
            Incident::Done(_) => Ok(()),
        });
        // Also for work that failed.
        let told = clients.tell_confined(journal);
        settled.and_then(|settled| told.map(|()| settled))
    }
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
fn shares(blocks: u32, most: u32) -> Vec<Vec<u32>> {
    let count = most.min(blocks);
    let start = |share: u32| (u64::from(blocks) * u64::from(share) / u64::from(count)) as u32;
    (0..count).map(|share| (start(share)..start(share + 1)).collect()).collect()
}

/// Returns the sums of all blocks in block order, or the cause of the first process that failed.
fn sums_of(settled: Vec<Settled>) -> std::result::Result<Vec<BlockSums>, Cause> {
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
fn test_score(sums: &[BlockSums], examples: u64) -> std::result::Result<TestScore, NotFinite> {
    let loss_sum = sums.iter().fold(0.0, |sum, block| sum + block.loss_sum);
    let correct: u64 = sums.iter().map(|block| block.correct).sum();
    Ok(TestScore { loss: mean(loss_sum, examples)?, accuracy: mean(correct as f64, examples)? })
}

/// Returns the mean over some examples. Each summand of `sum` was checked, so that the mean is finite if there are any.
fn mean(sum: f64, examples: u64) -> std::result::Result<Finite, NotFinite> {
    Finite::try_from(sum / examples as f64)
}

#[cfg(test)]
mod tests;
