//! The clients of a run: their processes, their sizes, their dylib and the program of the strategy.

use std::{sync::Arc, time::Duration};

use fedpipe_data::{Dealt, Partition};
use fedpipe_protocol::{
    InForce, Kind, Layout, Level, Parts, Place, Ready, Reply, Request, Setup, Spare, Target, WEIGHTS, feature,
};
use fedpipe_record::{cause::Cause, experiment::Experiment};
use fedpipe_strategy::closed_round::ClientUpdate;

use crate::{
    error::{Error, Result},
    experiment::{
        client_program,
        closed::Closed,
        processes::{job_count, process_count},
        strategy_program,
    },
    fleet::{
        Confined, Fleet, NeededFeature,
        job::{Check, Incident, Job},
        job_queue::SettledJob,
    },
    process::{conversation::Environment, spawn::allow_descriptors},
    run::{
        active::RunContext,
        aggregate::RunningMean,
        answers,
        directory::Dylib,
        event::{Event, Journal},
        external_strategy::StrategyProgram,
        schedule::virtual_clock::VirtualClock,
        setup::{pipe_size, setups, task},
    },
};

/// The client processes of a run and the facts that hold for all of them.
pub(super) struct Clients {
    pub(super) fleet: Fleet,
    /// The training examples of each client's partition.
    pub(super) sizes: Vec<u64>,
    /// The held-out examples of each client's partition.
    pub(super) held_out: Vec<u64>,
    pub(super) test_examples: u64,
    pub(super) target: Target,
    /// The dylib that the clients run; none if they are a program.
    pub(super) dylib: Option<Dylib>,
    /// The dylib before the last reload.
    pub(super) dylib_before: Option<Dylib>,
    /// The advice for a client whose numbers are not finite or too large.
    pub(super) remedy: String,
    /// The strategy, if it is a program.
    pub(super) program: Option<StrategyProgram>,
    /// The tensors of the weights with those local that the strategy keeps so; `None` if the model decides it alone.
    pub(super) kept_local: Option<Layout>,
    /// Buffers for the updates.
    pub(super) spare: Arc<Spare>,
    /// The mean of a round's updates, whose memory the rounds share.
    pub(super) mean: RunningMean,
    /// The virtual time of the clients, if the experiment has a clock.
    pub(super) clock: Option<VirtualClock>,
}

/// The weights that the model begins with.
#[derive(Debug)]
pub(super) struct InitialWeights {
    pub(super) weights: Vec<f32>,
    /// The client processes that crashed before the weights were known.
    pub(super) crashes: u64,
}

impl Clients {
    /// Starts the client processes with the run's dylib of that name.
    pub(super) fn start(context: &RunContext<'_>, dealt: &Dealt, dylib: &str) -> Result<Self> {
        let RunContext { experiment, launch, directory, control, .. } = *context;
        // A refusal shows where a descriptor is then missing, with its remedy.
        let _ = allow_descriptors(process_count(experiment));
        let dylib = experiment.client.is_none().then(|| directory.dylib(dylib)).transpose()?;
        let setups: Vec<Setup> = setups(context, dylib.as_ref(), dealt)?;
        let spare = Arc::new(Spare::default());
        let environment = environment(context, Arc::clone(&spare))?;
        let at_once = job_count(experiment) as usize;
        let mut fleet = Fleet::start(environment, &control.stop, setups, at_once, experiment.clients.on_failure)?;
        if !launch.command.elsewhere {
            // Once for all, while the clients start: each client would read the whole of it for a share.
            Partition::open(&dealt.test.path)?.check_sha256(&dealt.test.sha256, &dealt.test.path)?;
        }
        if launch.command.elsewhere && experiment.execution.isolation == Level::Require {
            fleet.all_ready()?;
        }
        let (sizes, held_out) = if experiment.data.partition.is_own() {
            let sizes = fleet.sizes()?;
            let held_out = fleet.held_out(&sizes, experiment.deal().holdout)?;
            (sizes, held_out)
        } else {
            dealt.partitions.iter().map(|partition| (partition.examples, partition.held_out)).unzip()
        };
        Ok(Self {
            fleet,
            sizes,
            held_out,
            test_examples: dealt.test.examples,
            target: task(&dealt.dataset).target,
            dylib,
            dylib_before: None,
            remedy: experiment.remedy(),
            program: None,
            kept_local: None,
            spare,
            mean: RunningMean::default(),
            clock: None,
        })
    }

    /// Starts the program of the strategy, if the strategy is one.
    pub(super) fn start_strategy(&mut self, context: &RunContext<'_>) -> Result<()> {
        let RunContext { experiment, launch, directory, control, .. } = *context;
        let Some(program) = strategy_program(experiment)? else { return Ok(()) };
        let closed = Closed::of_run(launch, experiment, directory.path());
        let launched = program.launched(&launch.launcher, &closed, experiment.execution.isolation)?;
        let model = (self.target, self.layout()?);
        let program =
            StrategyProgram::start(launched, experiment, model, (directory, context.timeline), &control.stop)?;
        self.program = Some(program);
        Ok(())
    }

    /// Starts the virtual clock, if the experiment has one.
    pub(super) fn start_clock(&mut self, context: &RunContext<'_>) -> Result<()> {
        let RunContext { experiment, launch, directory, .. } = *context;
        let file = experiment.time.clock.as_ref().and_then(|clock| clock.trace_file());
        let trace = file.map(|file| directory.keep_trace(file, launch.inputs_folder.as_deref())).transpose()?;
        self.clock = VirtualClock::new(experiment, &trace.unwrap_or_default(), self.layout()?)?;
        Ok(())
    }

    /// Asks a client for the model's initial weights.
    pub(super) fn initial_weights(&mut self, journal: &mut Journal<'_>) -> Result<InitialWeights> {
        let job = Job {
            slot: 0,
            client: None,
            request: Request::GetWeights,
            weights: None,
            parts: Vec::new(),
            only_scores: false,
        };
        let is_weights: Arc<Check> =
            Arc::new(|_: &Job, reply: &Reply, parts: &mut Parts, weights: usize| match reply {
                Reply::Weights => answers::only(parts, &[WEIGHTS])
                    .and_then(|()| answers::weights(parts, weights, "look at the model's initial weights")),
                _ => Err(Cause::protocol(format!("it answered a request for its weights with {:?}", reply.kind()))),
            });
        let mut crashes = 0;
        self.fleet.submit(job, &is_weights);
        let settled = self.fleet.next_settled(None, &mut |incident: Incident<'_>| match incident {
            Incident::Crashed(crash) => {
                crashes += 1;
                journal.emit(&Event::Crashed(&crash))
            }
            Incident::Done(_) => Ok(()),
        })?;
        match settled.map(|SettledJob { settled, .. }| settled) {
            Some(Ok((_, mut parts))) => {
                Ok(InitialWeights { weights: parts.take_f32(WEIGHTS).unwrap_or_default(), crashes })
            }
            Some(Err(exit)) => Err(Error::Round(format!("no client could be started: {}", exit.cause))),
            None => Err(anyhow::anyhow!("a job was not settled").into()),
        }
    }

    /// Refuses clients that lack a feature which the experiment needs.
    ///
    /// # Errors
    /// [`Error::Model`] naming the feature; as for [`Fleet::require`].
    pub(super) fn check_features(&mut self, experiment: &Experiment) -> Result<()> {
        // The host itself puts in the values of tensors that the strategy keeps local.
        let layout = self.fleet.layout()?;
        let of_strategy = experiment.strategy.features().into_iter().map(|name| (name, "the strategy"));
        let is_local = layout.local_ranges().next().is_some();
        let of_layout = is_local.then(|| (feature::LOCAL_TENSORS.to_owned(), "the model with its local tensors"));
        let of_end = experiment.until_converged.then(|| (feature::SCORE_START.to_owned(), "--until-converged"));
        let holds_out = !experiment.deal().holdout.is_none();
        let of_holdout = holds_out.then(|| (feature::EVALUATE_PARTITION.to_owned(), "--holdout"));
        let of_classes = experiment.evaluation.by_class.then(|| (feature::PREDICT.to_owned(), "--by-class"));
        let of_evaluation = of_holdout.into_iter().chain(of_classes);
        let of_program = self.program.iter().flat_map(StrategyProgram::features).cloned();
        let of_program = of_program.map(|name| (name, "the strategy's program"));
        let of_training = experiment.local.features();
        let needed =
            of_strategy.chain(of_layout).chain(of_end).chain(of_training).chain(of_evaluation).chain(of_program);
        self.fleet.require(needed.map(|(name, by)| NeededFeature { name, by }).collect())
    }

    /// Refuses buffers whose changes would be transformed: a variance of less than 0 would be possible.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the tensors.
    pub(super) fn check_buffers(&self, experiment: &Experiment) -> Result<()> {
        let transforms = &experiment.strategy.rules.transforms;
        let buffers = self.layout()?.tensors().iter().filter(|tensor| tensor.kind == Kind::Buffer);
        let names: Vec<&str> = buffers.map(|tensor| tensor.name.as_str()).collect();
        if names.is_empty() || transforms.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "the model has the buffers {}, which no gradient moves, and the transform {transforms} would alter their \
             changes; leave the transform out",
            names.join(", ")
        )))
    }

    /// Returns the clients' description of their model.
    pub(super) fn model(&self) -> Result<&Ready> {
        self.fleet.model()
    }

    /// Returns the named tensors of the weights. Those that the strategy keeps with each client are local.
    pub(super) fn layout(&self) -> Result<&Layout> {
        self.kept_local.as_ref().map_or_else(|| self.fleet.layout(), Ok)
    }

    /// Returns the names of the tensors that stay with each client.
    pub(super) fn local_tensors(&self) -> Result<Vec<String>> {
        let local = self.layout()?.tensors().iter().filter(|tensor| tensor.place == Place::Local);
        Ok(local.map(|tensor| tensor.name.clone()).collect())
    }

    /// Returns the isolation that the kernel enforces on the strategy, if the strategy is a program.
    pub(super) fn strategy_in_force(&self) -> Option<&InForce> {
        self.program.as_ref().map(StrategyProgram::in_force)
    }

    /// Records the isolation of each process that has reported it since the last call.
    pub(super) fn record_isolation(&mut self, journal: &mut Journal<'_>) -> Result<()> {
        self.fleet.take_confined().iter().try_for_each(|Confined { process, in_force }| {
            journal.emit(&Event::Isolated { process: *process, in_force })
        })
    }

    /// Keeps the dylib of the last reload, since a round was done with it.
    pub(super) fn keep_dylib(&mut self) {
        self.fleet.keep_dylib();
    }

    /// Gives the buffers of a round's updates to those of the next round.
    pub(super) fn reuse_buffers(&self, updates: Vec<ClientUpdate>) {
        let buffers = updates.into_iter().map(|update| update.weights).filter(|weights| !weights.is_empty());
        buffers.for_each(|weights| self.spare.keep(weights));
    }
}

/// Returns the environment in which each client process starts.
fn environment(context: &RunContext<'_>, spare: Arc<Spare>) -> Result<Environment> {
    let RunContext { experiment, launch, directory, .. } = *context;
    let (command, launched) = match client_program(experiment)? {
        Some(program) => {
            let closed = Closed::of_run(launch, experiment, directory.path());
            let (command, launched) = program.launched(&launch.command, &closed, experiment.execution.isolation)?;
            (command, Some(launched))
        }
        None => (launch.command.clone(), None),
    };
    let timeout = Duration::from_secs_f64(experiment.execution.client_timeout);
    Ok(Environment {
        launched,
        pipe_size: pipe_size(process_count(experiment)),
        spare,
        timeline: context.timeline.clone(),
        ..Environment::new(Arc::new(command), directory.logs(), timeout)
    })
}

#[cfg(test)]
mod tests;
