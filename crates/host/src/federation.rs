//! A round: send the weights, train, take the updates in client order; and evaluate.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fedpipe_data::{Dealt, Partition, Scheme};
use fedpipe_protocol::{
    EVALUATION_BLOCK, Evaluate, Held, InForce, Parts, Purpose, Ready, Reply, Request, Setup, Spare, Task, Tensor,
    Train, Update, WEIGHTS, weight_count,
};

use crate::{
    Cause, Error, Event, Experiment, Launch, Result, check,
    control::Control,
    event::Journal,
    fleet::{Check, Fleet, Incident, Job, Settled},
    isolation::isolation,
    run_dir::RunDir,
    sampling::sample,
    spawn::allow_descriptors,
    strategy::{Accepted, ServerState},
    strategy_program::StrategyProgram,
    stray::new_mark,
    worker::Environment,
};

/// The clients of a run and what they hold.
pub(crate) struct Federation<'a> {
    experiment: &'a Experiment,
    fleet: Fleet<'a>,
    /// Examples of each client's partition.
    pub(crate) sizes: Vec<u64>,
    test_examples: u64,
    weight_count: usize,
    /// What updates are read into.
    spare: Arc<Spare>,
    launch: &'a Launch,
    directory: &'a RunDir,
    /// The strategy, where it is a program.
    program: Option<StrategyProgram>,
    /// Lost processes so far.
    pub(crate) failures: u64,
}

/// What the clients of one round gave.
pub(crate) struct Trained {
    /// In client order, at least the quorum.
    pub(crate) updates: Vec<Accepted>,
    pub(crate) sampled: u32,
    /// All clients there are.
    pub(crate) of: u32,
    /// Mean over the examples of all updates.
    pub(crate) loss: f64,
}

/// Mean loss and accuracy over the test set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score {
    pub(crate) loss: f64,
    pub(crate) accuracy: f64,
}

impl<'a> Federation<'a> {
    /// Starts the clients and takes their model's initial weights.
    pub(crate) fn start(
        experiment: &'a Experiment,
        directory: &'a RunDir,
        launch: &'a Launch,
        dealt: &Dealt,
        first_round: u64,
        control: &'a Control,
        journal: &mut Journal<'_>,
    ) -> Result<(Self, Vec<f32>)> {
        let processes = experiment.process_count();
        // Where it is refused, what then lacks a descriptor says so.
        let _ = allow_descriptors(processes);
        let foreign = experiment.foreign()?;
        let dylib = foreign.is_none().then(|| directory.model_at(first_round)).transpose()?;
        let test_sha256 = launch.command.elsewhere.then(|| Partition::open(&dealt.test.path)).transpose()?;
        let test_sha256 = test_sha256.map(|test| test.sha256());
        let setup = |process| Setup {
            test_sha256: test_sha256.clone(),
            ..setup(experiment, &dylib, dealt, process, processes)
        };
        let setups = (0..processes).map(setup).collect();
        let spare = Arc::new(Spare::default());
        let (command, launched) = match foreign {
            Some(foreign) => {
                let closed = closed(launch, directory);
                let (command, launched) = foreign.launched(&launch.command, closed, experiment.isolation)?;
                (command, Some(launched))
            }
            None => (launch.command.clone(), None),
        };
        let environment = Environment {
            command,
            launched,
            logs: directory.logs(),
            mark: new_mark(),
            timeout: Duration::from_secs_f64(experiment.client_timeout),
            pipe_size: pipe_size(processes),
            spare: Arc::clone(&spare),
            jitter: Environment::jitter_asked_for(),
        };
        let at_once = experiment.job_count() as usize;
        let mut fleet = Fleet::start(environment, control, setups, at_once, experiment.on_failure)?;
        let sizes = match experiment.partition {
            Scheme::Own => fleet.sizes()?,
            _ => dealt.partitions.iter().map(|partition| partition.examples).collect(),
        };
        let test_examples = dealt.test.examples;
        let (weight_count, program, failures) = (0, None, 0);
        let mut federation =
            Self { experiment, launch, directory, fleet, sizes, test_examples, weight_count, spare, program, failures };
        let weights = federation.initial_weights(journal)?;
        federation.weight_count = weights.len();
        if let Some(foreign) = experiment.foreign_strategy()? {
            let launched = foreign.launched(&launch.launcher, closed(launch, directory), experiment.isolation)?;
            let program =
                StrategyProgram::start(&launched, experiment, federation.layout()?, directory, &control.stop)?;
            federation.program = Some(program);
        }
        Ok((federation, weights))
    }

    /// What the clients said of their model.
    pub(crate) fn model(&self) -> Result<&Ready> {
        self.fleet.model().ok_or_else(|| anyhow::anyhow!("no client has said what its model is").into())
    }

    /// The named tensors of the weights.
    pub(crate) fn layout(&self) -> Result<&[Tensor]> {
        Ok(&self.model()?.layout)
    }

    /// What the kernel enforces on the strategy, where it is a program.
    pub(crate) fn strategy_in_force(&self) -> Option<&InForce> {
        self.program.as_ref().map(StrategyProgram::in_force)
    }

    fn initial_weights(&mut self, journal: &mut Journal<'_>) -> Result<Vec<f32>> {
        // How many weights there are is known only when the first client is ready; 4 GiB of them are refused.
        let job = Job { slot: 0, client: None, request: Request::GetWeights, weights: None, reply_payload: 4 << 30 };
        let is_weights = |_: &Job, reply: &Reply, parts: &Parts| match reply {
            Reply::Weights => check::weights(parts, None),
            _ => Err(Cause::protocol("it answered a request for its weights with something else")),
        };
        let settled = self.run(None, vec![job], &is_weights, journal)?;
        match settled.into_iter().next() {
            Some(Ok((_, mut parts))) => {
                let expected = weight_count(self.layout()?);
                let weights = parts.take_f32(WEIGHTS).unwrap_or_default();
                match expected == Some(weights.len()) {
                    true => Ok(weights),
                    false => Err(Error::Model(format!(
                        "the model gave {} weights, but its layout has {}",
                        weights.len(),
                        expected.map_or("too many".into(), |n| n.to_string())
                    ))),
                }
            }
            Some(Err(loss)) => Err(Error::Round(format!("no client could be started: {}", loss.cause))),
            None => Err(anyhow::anyhow!("a job was not settled").into()),
        }
    }

    /// Takes another dylib before `round` where somebody asked for it, or where this run repeats one that did.
    pub(crate) fn swap_model_if_asked(&mut self, round: u64, journal: &mut Journal<'_>) -> Result<()> {
        let asked = std::mem::take(&mut self.fleet.reload_asked);
        let source = match self.launch.swaps.get(&round) {
            Some(path) => path,
            None if !asked => return Ok(()),
            None => match &self.launch.dylib {
                Some(path) => path,
                None => {
                    let reason = "a client of your own (--client) has no dylib; start another run";
                    return journal.tell(&Event::ReloadRefused { reason });
                }
            },
        };
        let before = self.directory.model_at_sha256(round)?;
        let swapped = self.directory.take_model(round, source).and_then(|(path, sha256)| match sha256 == before {
            true => Err(Error::Model(format!("{} has not changed", source.display()))),
            false => self.fleet.swap(&path).map(|()| sha256),
        });
        match swapped {
            Ok(dylib_sha256) => journal.tell(&Event::Reloaded { round, dylib_sha256: &dylib_sha256 })?,
            Err(error) => {
                self.directory.drop_model(round);
                journal.tell(&Event::ReloadRefused { reason: &error.to_string() })?;
            }
        }
        Ok(())
    }

    /// Trains the sampled clients from `weights`.
    pub(crate) fn train(&mut self, round: u64, weights: &Arc<Vec<f32>>, journal: &mut Journal<'_>) -> Result<Trained> {
        let experiment = self.experiment;
        let sampled = match self.launch.replay.get(&round) {
            Some(participants) => participants.clone(),
            None => sample(experiment.seed, round, experiment.clients, experiment.sampled_clients()),
        };
        journal.tell(&Event::RoundStarted { round, sampled: sampled.len() as u32 })?;
        let jobs = sampled.iter().map(|&client| self.train_job(round, client, weights)).collect();
        let (count, sizes) = (self.weight_count, self.sizes.clone());
        let check = move |job: &Job, reply: &Reply, parts: &Parts| check::update(job, reply, parts, count, &sizes);
        let settled = self.run(Some(round), jobs, &check, journal)?;

        let mut updates = Vec::with_capacity(settled.len());
        let (mut loss_sum, mut examples) = (0.0, 0);
        let mut first_cause = None;
        for outcome in settled {
            match outcome {
                Ok((Reply::Update(update), mut parts)) => {
                    loss_sum += update.loss_sum;
                    examples += update.examples;
                    let weights = parts.take_f32(WEIGHTS).unwrap_or_default();
                    let Update { client, examples, steps, accumulation, .. } = update;
                    updates.push(Accepted { client, examples, steps, accumulation, weights });
                }
                Ok(_) => {}
                Err(loss) => first_cause = first_cause.or(Some(loss.cause)),
            }
        }
        let (got, quorum) = (updates.len(), experiment.quorum());
        match first_cause {
            Some(cause) if got < quorum as usize => Err(Error::Round(format!(
                "round {round} failed: {got} of {} clients returned an update (quorum {quorum}): {cause}",
                sampled.len()
            ))),
            _ => Ok(Trained {
                updates,
                sampled: sampled.len() as u32,
                of: experiment.clients,
                loss: loss_sum / examples as f64,
            }),
        }
    }

    /// Takes back what a round's updates were read into.
    pub(crate) fn reuse(&self, trained: Trained) {
        trained.updates.into_iter().for_each(|update| self.spare.keep(update.weights));
    }

    /// The new global weights from the old ones and a round's updates; moves `server` on.
    pub(crate) fn aggregate(
        &mut self,
        round: u64,
        server: &mut ServerState,
        weights: &[f32],
        updates: &[Accepted],
    ) -> Result<Vec<f32>> {
        match &mut self.program {
            Some(program) => program.apply(round, server, weights, updates),
            None => Ok(self.experiment.strategy.apply(server, weights, updates, self.layout()?)),
        }
    }

    fn train_job(&self, round: u64, client: u32, weights: &Arc<Vec<f32>>) -> Job {
        let Experiment { epochs, batch_size, lr, ref optimiser, .. } = *self.experiment;
        let request = Request::Train(Train {
            client,
            round,
            epochs,
            batch_size,
            learning_rate: lr,
            optimiser: optimiser.to_json(),
        });
        Job {
            slot: client as usize % self.fleet.len(),
            client: Some(client),
            request,
            weights: Some(Arc::clone(weights)),
            reply_payload: 4 * self.weight_count as u64,
        }
    }

    /// Scores `weights` on the test set, split over the processes in blocks that are merged in block order.
    pub(crate) fn evaluate(&mut self, round: u64, weights: &Arc<Vec<f32>>, journal: &mut Journal<'_>) -> Result<Score> {
        let blocks = self.test_examples.div_ceil(EVALUATION_BLOCK as u64) as u32;
        let spread = self.experiment.processes_a_job() as usize * self.fleet.at_once();
        let shares = (spread.min(self.fleet.len()) as u32).min(blocks);
        let share = |s: u32| u64::from(blocks) * u64::from(s) / u64::from(shares);
        let jobs = (0..shares).map(|s| Job {
            slot: s as usize,
            client: None,
            request: Request::Evaluate(Evaluate { blocks: (share(s) as u32..share(s + 1) as u32).collect() }),
            weights: Some(Arc::clone(weights)),
            reply_payload: 0,
        });
        let jobs = jobs.collect();
        let test_examples = self.test_examples;
        let check = move |job: &Job, reply: &Reply, _: &Parts| check::blocks(job, reply, test_examples);
        let settled = self.run(Some(round), jobs, &check, journal)?;

        let (mut loss_sum, mut correct) = (0.0, 0);
        for outcome in settled {
            match outcome {
                Ok((Reply::Evaluated { blocks }, _)) => blocks.iter().for_each(|block| {
                    loss_sum += block.loss_sum;
                    correct += block.correct;
                }),
                Ok(_) => {}
                Err(loss) => {
                    return Err(Error::Round(format!("round {round} could not be evaluated: {}", loss.cause)));
                }
            }
        }
        let n = self.test_examples as f64;
        Ok(Score { loss: loss_sum / n, accuracy: correct as f64 / n })
    }

    fn run(
        &mut self,
        round: Option<u64>,
        jobs: Vec<Job>,
        check: &Check<'_>,
        journal: &mut Journal<'_>,
    ) -> Result<Vec<Settled>> {
        let failures = &mut self.failures;
        self.fleet.run(round, jobs, check, &mut |incident| match (incident, round) {
            (Incident::Lost(lost), _) => {
                *failures += 1;
                journal.tell(&Event::Lost(&lost))
            }
            (Incident::Done(Job { client: Some(client), .. }), Some(round)) => {
                journal.tell(&Event::Trained { round, client: *client })
            }
            (Incident::Done(_), _) => Ok(()),
        })
    }
}

/// What a program of the user's is not to read, whatever its command names: the data of all clients, and the run.
fn closed(launch: &Launch, directory: &RunDir) -> Vec<PathBuf> {
    vec![launch.cache.root().to_owned(), directory.path().to_owned()]
}

/// Bytes for each pipe: all together stay within 32 MiB, since past the user's limit the kernel shrinks new pipes.
fn pipe_size(processes: u32) -> i32 {
    const ALL: u32 = 32 << 20;
    const MOST: u32 = 1 << 20;
    (ALL / (2 * processes)).min(MOST).cast_signed()
}

/// What process `process` of `processes` is told: it serves the clients whose number is its own modulo their count.
fn setup(experiment: &Experiment, dylib: &Option<PathBuf>, dealt: &Dealt, process: u32, processes: u32) -> Setup {
    let held = (process..experiment.clients)
        .step_by(processes as usize)
        .map(|client| Held { client, path: dealt.path_of(client) });
    Setup {
        dylib: dylib.clone(),
        dylib_sha256: None,
        test_sha256: None,
        options: experiment.model_options.clone(),
        seed: experiment.seed,
        isolation: isolation(experiment),
        purpose: Purpose::Serve {
            task: Task { shape: dealt.dataset.shape.clone(), classes: dealt.dataset.classes as usize },
            partitions: held.collect(),
            test: dealt.test.path.clone(),
        },
    }
}
