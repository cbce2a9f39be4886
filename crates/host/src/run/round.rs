//! One round: samples clients, sends them the weights, has them train, aggregates their updates and evaluates the
//! result.

use std::sync::Arc;

use fedpipe_data::counted;
use fedpipe_protocol::{BlockSums, EVALUATION_BLOCK, Evaluate, FailureKind, Parts, Reply, Request, Train, WEIGHTS};
use fedpipe_record::{
    cause::Cause,
    experiment::Experiment,
    finite::{Finite, NotFinite},
};
use fedpipe_strategy::{
    sampler::sample_clients,
    server::{ServerOptimiser, ServerState},
};

use crate::{
    error::{Error, Result},
    experiment::processes::processes_a_job,
    fleet::{Check, Incident, Job, Settled},
    run::{
        active::ActiveRun,
        aggregate::{ClientUpdate, mean_by_examples},
        answers::{self, Expected},
        event::Event,
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
    /// The global weights after the round.
    pub(super) weights: Arc<Vec<f32>>,
    /// The server's state after the round.
    pub(super) server: Arc<ServerState>,
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
        let sampled = self.sample(round);
        let updates = self.train(round, &sampled)?;
        let training_loss = training_loss(&updates)
            .map_err(|error| Error::Round(format!("round {round} failed: the training loss {error}")))?;
        let (weights, server) = self.aggregate(round, &updates)?;
        let weights = Arc::new(weights);
        let score = self.evaluate(round, &weights)?;
        let (sampled, of) = (sampled.len() as u32, self.context.experiment.clients);
        Ok(RoundResult { updates, sampled, of, training_loss, weights, server: Arc::new(server), score })
    }

    /// Returns the clients that take part in a round. A run that repeats another run has the same participants.
    fn sample(&self, round: u64) -> Vec<u32> {
        let experiment = self.context.experiment;
        match self.context.launch.replay.get(&round) {
            Some(participants) => participants.clone(),
            None => sample_clients(experiment.seed, round, experiment.clients, experiment.sampled_clients()),
        }
    }

    /// Has the `sampled` clients train from the global weights, and returns their updates in client order.
    fn train(&mut self, round: u64, sampled: &[u32]) -> Result<Vec<ClientUpdate>> {
        self.journal.tell(&Event::RoundStarted { round, sampled: sampled.len() as u32 })?;
        let jobs = sampled.iter().map(|&client| self.train_job(round, client)).collect();
        let sizes = self.clients.sizes.clone();
        let remedy = self.clients.remedy.clone();
        let check = move |job: &Job, reply: &Reply, parts: &Parts, weights: usize| {
            answers::update(job, reply, parts, &Expected { weights, sizes: &sizes, remedy: &remedy })
        };
        let (updates, first_failure) = updates_of(self.work(round, jobs, &check)?);
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

    fn train_job(&self, round: u64, client: u32) -> Job {
        let Experiment { epochs, batch_size, lr, ref optimiser, .. } = *self.context.experiment;
        let optimiser = optimiser.to_json();
        let train = Train { client, round, epochs, batch_size, learning_rate: lr, optimiser };
        Job {
            slot: client as usize % self.clients.fleet.len(),
            client: Some(client),
            request: Request::Train(train),
            weights: Some(Arc::clone(self.state.weights())),
        }
    }

    /// Returns the global weights and the server's state after a round with these updates.
    fn aggregate(&mut self, round: u64, updates: &[ClientUpdate]) -> Result<(Vec<f32>, ServerState)> {
        let Self { clients, state, journal, context, .. } = self;
        if let Some(program) = &mut clients.program {
            let mut tell = |crash: &_| journal.tell(&Event::StrategyCrashed(crash));
            return program.apply(round, state.server(), state.weights(), updates, &mut tell);
        }
        let strategy = &context.experiment.strategy;
        let mean = mean_by_examples(updates);
        strategy
            .step(state.server(), state.weights(), &mean, clients.layout()?)
            .map_err(|overflow| Error::Round(format!("round {round} failed: the strategy {strategy} {overflow}")))
    }

    /// Scores `weights` on the test set. Each process scores some blocks, whose sums are added in block order.
    pub(super) fn evaluate(&mut self, round: u64, weights: &Arc<Vec<f32>>) -> Result<TestScore> {
        let test_examples = self.clients.test_examples;
        let remedy = self.clients.remedy.clone();
        let check = move |job: &Job, reply: &Reply, parts: &Parts, _: usize| {
            answers::blocks(job, reply, parts, test_examples, &remedy)
        };
        let settled = self.work(round, self.evaluate_jobs(weights), &check)?;
        let sums = sums_of(settled).map_err(|cause| {
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
            request: Request::Evaluate(Evaluate { blocks }),
            weights: Some(Arc::clone(weights)),
        };
        shares(blocks, spread.min(fleet.len()) as u32).into_iter().enumerate().map(job).collect()
    }

    /// Returns a phrase that names the strategy, if the strategy may be the cause of a model's error. The advice in
    /// that error is only about training, and the weights may have been wrong before.
    fn origin(&self, cause: &Cause) -> String {
        let strategy = &self.context.experiment.strategy;
        match (strategy.server, cause) {
            (ServerOptimiser::Mean, _) => String::new(),
            (_, Cause::Reported { failure: FailureKind::Model, .. }) => {
                format!(" from the weights of --strategy {strategy}")
            }
            _ => String::new(),
        }
    }

    /// Has the processes do `jobs`, and records each crash and each update.
    fn work(&mut self, round: u64, jobs: Vec<Job>, check: &Check<'_>) -> Result<Vec<Settled>> {
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

/// Returns the updates of a round, and the cause of the first client that returned none.
fn updates_of(settled: Vec<Settled>) -> (Vec<ClientUpdate>, Option<Cause>) {
    let mut updates = Vec::with_capacity(settled.len());
    let mut first_failure = None;
    for outcome in settled {
        match outcome {
            Ok((Reply::Update(header), mut parts)) => {
                updates.push(ClientUpdate { header, weights: parts.take_f32(WEIGHTS).unwrap_or_default() });
            }
            Ok(_) => {}
            Err(exit) => first_failure = first_failure.or(Some(exit.cause)),
        }
    }
    (updates, first_failure)
}

/// Returns the mean training loss over the examples of all updates.
fn training_loss(updates: &[ClientUpdate]) -> std::result::Result<Finite, NotFinite> {
    let loss_sum = updates.iter().fold(0.0, |sum, update| sum + update.header.loss_sum);
    mean(loss_sum, updates.iter().map(|update| update.header.examples).sum())
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
mod tests {
    use std::time::Duration;

    use fedpipe_protocol::{Limits, Part, Update, read, write};

    use super::*;
    use crate::process::end::ProcessExit;

    fn header(client: u32, loss_sum: f64, examples: u64) -> Update {
        Update { client, round: 1, steps: 1, accumulation: None, loss_sum, correct: 0, examples }
    }

    fn settled(reply: Reply, parts: &[Part<'_>]) -> Settled {
        let mut bytes = Vec::new();
        write(&mut bytes, &reply, parts).unwrap();
        Ok(read(&mut bytes.as_slice(), Limits { payload: 100 }).unwrap())
    }

    fn crashed(message: &str) -> Settled {
        Err(ProcessExit {
            cause: Cause::protocol(message),
            last_words: Vec::new(),
            log: None,
            after: Duration::ZERO,
            cpu_time: Duration::ZERO,
            greeted: true,
        })
    }

    #[test]
    fn updates_keep_their_order_and_the_first_failure_its_cause() {
        let update = |client| settled(Reply::Update(header(client, 1.0, 2)), &[Part::F32(WEIGHTS, &[client as f32])]);
        let (updates, failure) = updates_of(vec![update(1), crashed("first"), update(4), crashed("second")]);
        assert_eq!(updates.iter().map(|update| update.header.client).collect::<Vec<_>>(), [1, 4]);
        assert_eq!([&updates[0].weights, &updates[1].weights], [&[1.0], &[4.0]]);
        assert_eq!(failure, Some(Cause::protocol("first")));
        assert_eq!(updates_of(vec![update(0)]).1, None);
    }

    #[test]
    fn a_client_counts_by_its_examples_in_the_training_loss() {
        let update = |loss_sum, examples| ClientUpdate { header: header(0, loss_sum, examples), weights: Vec::new() };
        assert_eq!(training_loss(&[update(6.0, 3), update(1.0, 1)]).unwrap().get(), 1.75);
        assert!(training_loss(&[]).is_err(), "no examples have no mean");
    }

    #[test]
    fn the_blocks_of_the_test_set_are_split_without_a_gap() {
        assert_eq!(shares(5, 2), [vec![0, 1], vec![2, 3, 4]]);
        assert_eq!(shares(2, 9), [vec![0], vec![1]]);
        for (blocks, most) in [(1, 1), (20, 7), (100, 3)] {
            let shares = shares(blocks, most);
            assert_eq!(shares.concat(), Vec::from_iter(0..blocks), "{blocks} blocks, {most} processes");
            assert!(shares.iter().all(|share| !share.is_empty()), "{shares:?}");
        }
    }

    #[test]
    fn a_score_is_the_mean_of_all_blocks_and_fails_with_the_first_cause() {
        let sums = |block, correct| BlockSums { block, loss_sum: 3.0, correct, examples: 4 };
        let answered = |block, correct| settled(Reply::Evaluated { blocks: vec![sums(block, correct)] }, &[]);
        let all = sums_of(vec![answered(0, 4), answered(1, 2)]).unwrap();
        let score = test_score(&all, 8).unwrap();
        assert_eq!((score.loss.get(), score.accuracy.get()), (0.75, 0.75));
        let failed = sums_of(vec![answered(0, 4), crashed("first"), crashed("second")]);
        assert_eq!(failed.unwrap_err(), Cause::protocol("first"));
    }
}
