//! A round: send the weights, train, take the updates in client order; and evaluate.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fedpipe_data::{Dealt, Partition, Scheme, counted};
use fedpipe_protocol::{
    EVALUATION_BLOCK, Evaluate, FailureKind, HeldPartition, InForce, Layout, Level, MAX_HEADER, Parts, Purpose, Ready,
    Reply, Request, Setup, Spare, Task, Train, Update, WEIGHTS, header_length,
};
use fedpipe_record::{
    cause::Cause,
    experiment::Experiment,
    finite::{Finite, NotFinite},
    names,
};
use fedpipe_strategy::{
    sample::sample,
    server::{ServerOptimiser, ServerState},
};

use crate::{
    error::{Error, Result},
    experiment::{
        Launch, client_program,
        closed::Closed,
        limits::isolation_of_each,
        processes::{job_count, process_count, processes_a_job},
        strategy_program,
    },
    fleet::{Check, Confined, Fleet, Incident, Job, Settled, control::Control},
    process::{conversation::Environment, spawn::allow_descriptors},
    run::{
        aggregate::{Accepted, mean_by_examples},
        answers::{self, Expected},
        directory::{Dylib, RunDir},
        event::{Event, Journal},
        external_strategy::StrategyProgram,
    },
};

/// The clients of a run and what they hold.
pub(crate) struct Federation<'a> {
    experiment: &'a Experiment,
    control: &'a Control,
    fleet: Fleet,
    /// Examples of each client's partition.
    pub(crate) sizes: Vec<u64>,
    test_examples: u64,
    /// The dylib that the clients run; none where they are a program.
    dylib: Option<Dylib>,
    /// The one before the last reload.
    dylib_before: Option<Dylib>,
    /// The advice where training left the range of numbers.
    remedy: String,
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
    pub(crate) loss: Finite,
}

/// Mean loss and accuracy over the test set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score {
    pub(crate) loss: Finite,
    pub(crate) accuracy: Finite,
}

impl<'a> Federation<'a> {
    /// Starts the clients, with the run's dylib of that name, and takes their model's initial weights.
    pub(crate) fn start(
        experiment: &'a Experiment,
        directory: &'a RunDir,
        launch: &'a Launch,
        dealt: &Dealt,
        dylib: &str,
        control: &'a Control,
        journal: &mut Journal<'_>,
    ) -> Result<(Self, Vec<f32>)> {
        let processes = process_count(experiment);
        // A refusal shows where a descriptor is then missing, with its remedy.
        let _ = allow_descriptors(processes);
        let foreign = client_program(experiment)?;
        let dylib = foreign.is_none().then(|| directory.dylib(dylib)).transpose()?;
        let path = dylib.as_ref().map(|dylib| dylib.path.clone());
        // A client elsewhere has a dylib of its own: the one that this run is known by, or it is refused.
        let dylib_sha256 = dylib.as_ref().filter(|_| launch.command.elsewhere).map(|dylib| dylib.sha256.clone());
        let setup = |process| Setup {
            dylib_sha256: dylib_sha256.clone(),
            test_sha256: Some(dealt.test.sha256.clone()).filter(|_| launch.command.elsewhere),
            ..setup(experiment, &path, dealt, process, processes)
        };
        let setups: Vec<Setup> = (0..processes).map(setup).collect();
        // The first has as many clients as any.
        setups.first().map_or(Ok(()), |setup| check_sendable(setup, experiment))?;
        let spare = Arc::new(Spare::default());
        let (command, launched) = match foreign {
            Some(foreign) => {
                let closed = Closed::of_run(launch, experiment, directory);
                let (command, launched) = foreign.launched(&launch.command, &closed, experiment.isolation)?;
                (command, Some(launched))
            }
            None => (launch.command.clone(), None),
        };
        let timeout = Duration::from_secs_f64(experiment.client_timeout);
        let environment = Environment {
            launched,
            pipe_size: pipe_size(processes),
            spare: Arc::clone(&spare),
            ..Environment::new(Arc::new(command), directory.logs(), timeout)
        };
        let at_once = job_count(experiment) as usize;
        let mut fleet = Fleet::start(environment, &control.stop, setups, at_once, experiment.on_failure)?;
        if !launch.command.elsewhere {
            // Once for all, while the clients start: each would read the whole of it for a share.
            Partition::open(&dealt.test.path)?.check_sha256(&dealt.test.sha256, &dealt.test.path)?;
        }
        if launch.command.elsewhere && experiment.isolation == Level::Require {
            fleet.all_ready()?;
        }
        let sizes = match experiment.partition {
            Scheme::Own => fleet.sizes()?,
            _ => dealt.partitions.iter().map(|partition| partition.examples).collect(),
        };
        let mut federation = Self {
            experiment,
            control,
            launch,
            directory,
            fleet,
            sizes,
            test_examples: dealt.test.examples,
            dylib,
            dylib_before: None,
            remedy: experiment.remedy(),
            spare,
            program: None,
            failures: 0,
        };
        let weights = federation.initial_weights(journal)?;
        if let Some(foreign) = strategy_program(experiment)? {
            let closed = Closed::of_run(launch, experiment, directory);
            let launched = foreign.launched(&launch.launcher, &closed, experiment.isolation)?;
            let program = StrategyProgram::start(launched, experiment, federation.layout()?, directory, &control.stop)?;
            federation.program = Some(program);
        }
        Ok((federation, weights))
    }

    /// What the clients said of their model.
    pub(crate) fn model(&self) -> Result<&Ready> {
        self.fleet.model().ok_or_else(|| anyhow::anyhow!("no client has said what its model is").into())
    }

    /// The named tensors of the weights.
    pub(crate) fn layout(&self) -> Result<&Layout> {
        self.fleet.layout().ok_or_else(|| anyhow::anyhow!("no client has said what its model is").into())
    }

    /// What the kernel enforces on the strategy, where it is a program.
    pub(crate) fn strategy_in_force(&self) -> Option<&InForce> {
        self.program.as_ref().map(StrategyProgram::in_force)
    }

    fn initial_weights(&mut self, journal: &mut Journal<'_>) -> Result<Vec<f32>> {
        let job = Job { slot: 0, client: None, request: Request::GetWeights, weights: None };
        let is_weights = |_: &Job, reply: &Reply, parts: &Parts, weights: usize| match reply {
            Reply::Weights => answers::only(parts, &[WEIGHTS])
                .and_then(|()| answers::weights(parts, weights, "look at the model's initial weights")),
            _ => Err(Cause::protocol("it answered a request for its weights with something else")),
        };
        let settled = self.run(None, vec![job], &is_weights, journal)?;
        match settled.into_iter().next() {
            Some(Ok((_, mut parts))) => Ok(parts.take_f32(WEIGHTS).unwrap_or_default()),
            Some(Err(loss)) => Err(Error::Round(format!("no client could be started: {}", loss.cause))),
            None => Err(anyhow::anyhow!("a job was not settled").into()),
        }
    }

    /// Takes another dylib before `round` where somebody asked for it, or where this run repeats one that did.
    pub(crate) fn swap_model_if_asked(&mut self, round: u64, journal: &mut Journal<'_>) -> Result<()> {
        let asked = self.control.take_reload();
        let source = match self.launch.swaps.get(&round) {
            Some(path) => path,
            None if !asked => return Ok(()),
            None => match &self.launch.dylib {
                Some(path) => path,
                None => {
                    let reason = "a client of your own (--client) has no dylib; start another run";
                    return journal.tell(&Event::ReloadRefused { round, reason });
                }
            },
        };
        let before = self.dylib.as_ref().map(|dylib| &dylib.sha256);
        let swapped = self.directory.take_model(round, source).and_then(|dylib| match Some(&dylib.sha256) == before {
            true => Err(Error::Model(format!("{} has not changed", source.display()))),
            false => self.fleet.swap(&dylib.path, &dylib.sha256).map(|()| dylib),
        });
        match swapped {
            Ok(dylib) => {
                journal.tell(&Event::Reloaded { round, dylib_sha256: &dylib.sha256 })?;
                self.dylib_before = self.dylib.replace(dylib);
                if self.launch.swaps.contains_key(&round) {
                    // A run that is repeated went on with it.
                    self.fleet.keep_dylib();
                }
            }
            Err(error @ Error::Stopped(_)) => {
                self.directory.drop_model(round);
                return Err(error);
            }
            Err(error) => {
                self.directory.drop_model(round);
                // The copy is gone; the user knows the original.
                let copy = self.directory.path().join(names::model_from(round)).display().to_string();
                let reason = error.to_string().replace(&copy, &source.display().to_string());
                journal.tell(&Event::ReloadRefused { round, reason: &reason })?;
            }
        }
        Ok(())
    }

    /// Returns to the dylib from before a reload, where the first round with the new one has failed; the round can then begin
    /// again, as if nobody had asked for the reload.
    pub(crate) fn revert_model(&mut self, round: u64, why: &str, journal: &mut Journal<'_>) -> Result<bool> {
        if !self.fleet.revert() {
            return Ok(false);
        }
        self.dylib = self.dylib_before.take();
        let reason = format!("the first round with the new one failed, and begins again with the one before: {why}");
        journal.tell(&Event::ReloadRefused { round, reason: &reason })?;
        self.directory.drop_model(round);
        Ok(true)
    }

    /// Keeps the dylib of the last reload: a round was done with it.
    pub(crate) fn keep_model(&mut self) {
        self.fleet.keep_dylib();
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
        let (sizes, remedy) = (self.sizes.clone(), self.remedy.clone());
        let check = move |job: &Job, reply: &Reply, parts: &Parts, weights: usize| {
            answers::update(job, reply, parts, &Expected { weights, sizes: &sizes, remedy: &remedy })
        };
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
                    let Update { client, examples, steps, accumulation, loss_sum, .. } = update;
                    updates.push(Accepted { client, examples, steps, accumulation, loss_sum, weights });
                }
                Ok(_) => {}
                Err(loss) => first_cause = first_cause.or(Some(loss.cause)),
            }
        }
        let (got, quorum) = (updates.len(), experiment.quorum());
        if got < quorum as usize {
            let cause = first_cause.map_or(String::new(), |cause| format!("{}: {cause}", self.origin(&cause)));
            let sampled = counted(sampled.len(), "client");
            return Err(Error::Round(format!(
                "round {round} failed: {got} of {sampled} returned an update (quorum {quorum}){cause}"
            )));
        }
        let loss = mean(loss_sum, examples);
        let loss = loss.map_err(|error| Error::Round(format!("round {round} failed: the training loss {error}")))?;
        Ok(Trained { updates, sampled: sampled.len() as u32, of: experiment.clients, loss })
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
        journal: &mut Journal<'_>,
    ) -> Result<Vec<f32>> {
        match &mut self.program {
            Some(program) => {
                program.apply(round, server, weights, updates, &mut |lost| journal.tell(&Event::StrategyCrashed(lost)))
            }
            None => {
                let strategy = &self.experiment.strategy;
                let mean = mean_by_examples(updates);
                strategy.step(server, weights, &mean, self.layout()?).map_err(|overflow| {
                    Error::Round(format!("round {round} failed: the strategy {strategy} {overflow}"))
                })
            }
        }
    }

    /// The other suspect of a model's failure, for a sentence that the cause ends: a model can only advise on its own
    /// training, and the weights that it began with are the strategy's.
    fn origin(&self, cause: &Cause) -> String {
        let is_the_models = matches!(cause, Cause::Reported { failure: FailureKind::Model, .. });
        match self.experiment.strategy.server {
            ServerOptimiser::Mean => String::new(),
            _ if is_the_models => format!(" from the weights of --strategy {}", self.experiment.strategy),
            _ => String::new(),
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
        }
    }

    /// Scores `weights` on the test set, split over the processes in blocks that are merged in block order.
    pub(crate) fn evaluate(&mut self, round: u64, weights: &Arc<Vec<f32>>, journal: &mut Journal<'_>) -> Result<Score> {
        let blocks = self.test_examples.div_ceil(EVALUATION_BLOCK as u64) as u32;
        let spread = processes_a_job(self.experiment) as usize * self.fleet.at_once();
        let shares = (spread.min(self.fleet.len()) as u32).min(blocks);
        let share = |s: u32| u64::from(blocks) * u64::from(s) / u64::from(shares);
        let jobs = (0..shares).map(|s| Job {
            slot: s as usize,
            client: None,
            request: Request::Evaluate(Evaluate { blocks: (share(s) as u32..share(s + 1) as u32).collect() }),
            weights: Some(Arc::clone(weights)),
        });
        let jobs = jobs.collect();
        let (test_examples, remedy) = (self.test_examples, self.remedy.clone());
        let check = move |job: &Job, reply: &Reply, parts: &Parts, _: usize| {
            answers::blocks(job, reply, parts, test_examples, &remedy)
        };
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
                    let (origin, cause) = (self.origin(&loss.cause), loss.cause);
                    return Err(Error::Round(format!("round {round} could not be evaluated{origin}: {cause}")));
                }
            }
        }
        let mean = |sum| {
            let mean = mean(sum, self.test_examples);
            mean.map_err(|error| Error::Round(format!("round {round} could not be evaluated: the test loss {error}")))
        };
        Ok(Score { loss: mean(loss_sum)?, accuracy: mean(correct as f64)? })
    }

    fn run(
        &mut self,
        round: Option<u64>,
        jobs: Vec<Job>,
        check: &Check<'_>,
        journal: &mut Journal<'_>,
    ) -> Result<Vec<Settled>> {
        let failures = &mut self.failures;
        let settled = self.fleet.run(round, jobs, check, &mut |incident| match (incident, round) {
            (Incident::Crashed(lost), _) => {
                *failures += 1;
                journal.tell(&Event::Crashed(&lost))
            }
            (Incident::Done(Job { client: Some(client), .. }), Some(round)) => {
                journal.tell(&Event::Trained { round, client: *client })
            }
            (Incident::Done(_), _) => Ok(()),
        });
        // Before the first round the run's own lines come first.
        let told = if round.is_some() { self.tell_confined(journal) } else { Ok(()) };
        settled.and_then(|settled| told.map(|()| settled))
    }

    /// Tells what is in force on the processes that have said it since the last time.
    pub(crate) fn tell_confined(&mut self, journal: &mut Journal<'_>) -> Result<()> {
        self.fleet.take_confined().iter().try_for_each(|Confined { process, in_force }| {
            journal.tell(&Event::Isolated { process: *process, in_force })
        })
    }
}

/// Refuses a setup that no message can carry, or whose dylib the system's loader would look for elsewhere: it is no fault of
/// a client.
fn check_sendable(setup: &Setup, experiment: &Experiment) -> Result<()> {
    /// The tokens that `dlopen` replaces in a path (ld.so(8)).
    const REPLACED: [&str; 6] = ["$ORIGIN", "${ORIGIN}", "$LIB", "${LIB}", "$PLATFORM", "${PLATFORM}"];
    let Purpose::Serve { task, partitions, test } = &setup.purpose else { return Ok(()) };
    let paths = setup.dylib.iter().chain([test]).chain(partitions.iter().map(|held| &held.path));
    if let Some(path) = paths.into_iter().find(|path| path.to_str().is_none()) {
        return Err(Error::Usage(format!(
            "the path {} is not UTF-8, so that no message can carry it to a client; work in another folder",
            path.display()
        )));
    }
    let dylib = setup.dylib.as_ref().map(|dylib| dylib.display().to_string()).unwrap_or_default();
    if let Some(token) = REPLACED.iter().find(|token| dylib.contains(*token)) {
        return Err(Error::Usage(format!(
            "the path {dylib} has {token} in it, which the system's loader replaces; give another folder with --out"
        )));
    }
    let length = |setup: &Setup| header_length(&Request::Setup(setup.clone())).map_err(anyhow::Error::from);
    let (whole, most) = (length(setup)?, MAX_HEADER as usize);
    if whole <= most {
        return Ok(());
    }
    let purpose = Purpose::Serve { task: task.clone(), partitions: Vec::new(), test: test.clone() };
    let rest = length(&Setup { purpose, ..setup.clone() })?;
    let fit = most.saturating_sub(rest) * partitions.len() / (whole - rest).max(1);
    let processes = experiment.clients.div_ceil((fit as u32).max(1));
    Err(Error::Usage(format!(
        "one client process would serve {}, and a message has room for {fit}; give --processes {processes} or more",
        counted(partitions.len(), "client")
    )))
}

/// The mean over some examples. Each sum that is part of `sum` was checked, so that it is finite where there are any.
fn mean(sum: f64, examples: u64) -> std::result::Result<Finite, NotFinite> {
    Finite::try_from(sum / examples as f64)
}

/// Bytes for each pipe: all together stay within 32 MiB, since past the user's limit the kernel shrinks new pipes.
fn pipe_size(processes: u32) -> i32 {
    const ALL: u32 = 32 << 20;
    const MOST: u32 = 1 << 20;
    (ALL / (2 * processes)).min(MOST).cast_signed()
}

/// What process `process` of `processes` is told: it serves the clients whose number is its own modulo their count.
fn setup(experiment: &Experiment, dylib: &Option<PathBuf>, dealt: &Dealt, process: u32, processes: u32) -> Setup {
    let held = (process..experiment.clients).step_by(processes as usize).map(|client| HeldPartition {
        client,
        path: dealt.path_of(client),
        sha256: dealt.sha256_of(client),
    });
    Setup {
        dylib: dylib.clone(),
        dylib_sha256: None,
        test_sha256: None,
        options: experiment.model_options.clone(),
        seed: experiment.seed,
        isolation: isolation_of_each(experiment),
        purpose: Purpose::Serve {
            task: Task { shape: dealt.dataset.shape.clone(), classes: dealt.dataset.classes as usize },
            partitions: held.collect(),
            test: dealt.test.path.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use fedpipe_protocol::Isolation;

    use super::*;

    /// A setup with so many clients, whose dylib is `dylib`.
    fn setup(clients: u32, dylib: &OsStr) -> Setup {
        let held = |client| HeldPartition {
            client,
            path: format!("/home/somebody/.cache/fedpipe/partitions/{client:032}/{client:06}.safetensors").into(),
            sha256: Some("0".repeat(64)),
        };
        Setup {
            dylib: Some(dylib.into()),
            dylib_sha256: None,
            test_sha256: None,
            options: Default::default(),
            seed: 0,
            isolation: Isolation { level: Level::Auto, memory_limit: None, cpu_seconds: None },
            purpose: Purpose::Serve {
                task: Task { shape: vec![28, 28], classes: 10 },
                partitions: (0..clients).map(held).collect(),
                test: "/test".into(),
            },
        }
    }

    fn refusal(clients: u32, dylib: &OsStr) -> Option<String> {
        let experiment = Experiment { clients, ..Experiment::default() };
        check_sendable(&setup(clients, dylib), &experiment).err().map(|error| error.to_string())
    }

    #[test]
    fn a_setup_that_no_message_carries_is_refused_with_the_number_that_fits() {
        let dylib = OsStr::new("/run/model.so");
        let why = refusal(12_000, dylib).unwrap();
        assert!(why.starts_with("one client process would serve 12000 clients, and a message has room for "), "{why}");
        let number = |text: &str| why.split(text).nth(1).unwrap().split([' ', ';']).next().unwrap().parse().unwrap();
        let (fit, processes): (u32, u32) = (number("room for "), number("--processes "));
        assert_eq!(processes, 12_000_u32.div_ceil(fit));
        assert_eq!(refusal(fit, dylib), None);
        assert!(refusal(fit + fit / 100, dylib).is_some());
    }

    #[test]
    fn a_path_that_would_be_another_one_to_a_client_is_refused() {
        assert!(refusal(1, OsStr::from_bytes(b"/run\xff/model.so")).unwrap().contains("is not UTF-8"));
        assert!(refusal(1, OsStr::new("/$ORIGIN/model.so")).unwrap().contains("has $ORIGIN in it"));
        assert!(refusal(1, OsStr::new("/a${LIB}/model.so")).unwrap().contains("has ${LIB} in it"));
        assert_eq!(refusal(1, OsStr::new("/$HOME/model.so")), None);
    }
}
