//! The clients of a run: their processes, their sizes, their dylib and the program of the strategy.

use std::{sync::Arc, time::Duration};

use fedpipe_data::{Dealt, Partition};
use fedpipe_protocol::{
    InForce, Kind, Layout, Level, Parts, Place, Ready, Reply, Request, Setup, Spare, Target, WEIGHTS, feature,
};
use fedpipe_record::{cause::Cause, experiment::Experiment, names::STATE};
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
    process::{conversation::Environment, peer::PeerReply, spawn::allow_descriptors},
    run::{
        active::RunContext,
        aggregate::RunningMean,
        answers,
        directory::Dylib,
        event::{Event, Journal},
        external_strategy::StrategyProgram,
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
    /// Buffers for the updates.
    pub(super) spare: Arc<Spare>,
    /// The mean of a round's updates, whose memory the rounds share.
    pub(super) mean: RunningMean,
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
            spare,
            mean: RunningMean::default(),
        })
    }

    /// Starts the program of the strategy, if the strategy is one.
    pub(super) fn start_strategy(&mut self, context: &RunContext<'_>) -> Result<()> {
        let RunContext { experiment, launch, directory, control, .. } = *context;
        let Some(program) = strategy_program(experiment)? else { return Ok(()) };
        let closed = Closed::of_run(launch, experiment, directory.path());
        let launched = program.launched(&launch.launcher, &closed, experiment.execution.isolation)?;
        let program = StrategyProgram::start(launched, experiment, self.layout()?, directory, &control.stop)?;
        self.program = Some(program);
        Ok(())
    }

    /// Asks a client for the model's initial weights.
    pub(super) fn initial_weights(&mut self, journal: &mut Journal<'_>) -> Result<InitialWeights> {
        let job = Job { slot: 0, client: None, request: Request::GetWeights, weights: None, parts: Vec::new() };
        let is_weights: Arc<Check> =
            Arc::new(|_: &Job, reply: &Reply, parts: &mut Parts, weights: usize| match reply {
                Reply::Weights => answers::only(parts, &[WEIGHTS])
                    .and_then(|()| answers::weights(parts, weights, "look at the model's initial weights")),
                _ => Err(Cause::protocol(format!("it answered a request for its weights with {}", reply.name()))),
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
        let layout = self.layout()?;
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

    /// Refuses local tensors of clients with data of their own, since the host stores the values. Returns a warning
    /// about the local tensors, if the model has some.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the tensors.
    pub(super) fn check_local_tensors(&self, experiment: &Experiment) -> Result<Option<String>> {
        let local = self.layout()?.tensors().iter().filter(|tensor| tensor.place == Place::Local);
        let names: Vec<&str> = local.map(|tensor| tensor.name.as_str()).collect();
        let names = names.join(", ");
        let transforms = &experiment.strategy.rules.transforms;
        match (names.is_empty(), experiment.data.partition.is_own()) {
            (true, _) => Ok(None),
            (false, false) if !transforms.is_empty() => Err(Error::Usage(format!(
                "the model keeps the tensors {names} local to each client, and the transform {transforms} would change \
                 them each round; leave the transform out"
            ))),
            (false, true) => Err(Error::Usage(format!(
                "the model keeps the tensors {names} local to each client, and this host would store them, which \
                 --partition own excludes; share all tensors, or take another --partition"
            ))),
            (false, false) => Ok(Some(format!(
                "the model keeps the tensors {names} local to each client: the test set is scored with their initial \
                 values; the state of each client, in the folder {STATE}, has its own"
            ))),
        }
    }

    /// Returns the clients' description of their model.
    pub(super) fn model(&self) -> Result<&Ready> {
        self.fleet.model()
    }

    /// Returns the named tensors of the weights.
    pub(super) fn layout(&self) -> Result<&Layout> {
        self.fleet.layout()
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
mod tests {
    use std::process::ExitStatus;

    use fedpipe_protocol::Tensor;
    use fedpipe_record::summary::Stop;
    use fedpipe_strategy::strategy::StrategyRows;

    use super::*;
    use crate::{
        process::scripted::{ScriptedClient, exit, ready},
        run::{
            external_strategy::tests::answering as program_that_lists,
            scripted_run::{Stage, experiment},
        },
    };

    /// Answers a request for weights. Returns `false` to exit.
    type Answer = fn(&mut ScriptedClient) -> bool;

    /// Returns the script of a client that is asked for its weights alone. The first `honest` requests to the first
    /// process have an honest answer.
    fn answering(honest: u32, answer: Answer) -> impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static {
        move |client| {
            client.greet();
            client.say(&Reply::Ready(ready()), None);
            let mut left = if (client.number, client.start) == (0, 0) { honest } else { 0 };
            while client.next().is_some() {
                if left > 0 {
                    left -= 1;
                    client.say(&Reply::Weights, Some(&[1.0, 2.0]));
                } else if !answer(client) {
                    return exit(3);
                }
            }
            exit(0)
        }
    }

    #[test]
    fn a_crash_before_the_weights_are_known_is_counted_and_another_process_is_asked() {
        let script = answering(0, |client| {
            let is_fit = client.number > 0;
            if is_fit {
                client.say(&Reply::Weights, Some(&[3.0, 4.0]));
            }
            is_fit
        });
        let stage = Stage::new(experiment());
        stage.begin(script, |run| {
            assert_eq!(run.state.weights()[..], [3.0, 4.0]);
            let summary = run.state.summary(&stage.experiment, "m", Stop::Rounds, Duration::ZERO);
            assert_eq!((summary.failures, stage.history().failures), (1, 1));
        });
    }

    /// The program of a strategy lists the features that no row of a table needs.
    #[test]
    fn each_feature_that_the_clients_lack_is_refused_by_name() {
        let rows = |strategy: &str| Experiment { strategy: strategy.parse().unwrap(), ..experiment() };
        let mut int8 = experiment();
        int8.strategy.rules =
            StrategyRows { transforms: Some("int8".parse().unwrap()), ..StrategyRows::default() }.into();
        let converged = Experiment { until_converged: true, ..experiment() };
        let program = "the strategy's program";
        let cases: [(&str, &str, Experiment); 10] = [
            (feature::PROXIMAL, "the strategy", rows("fedprox:0.1")),
            (feature::LINEAR, "the strategy", rows("scaffold")),
            (feature::LINEAR, "the strategy", rows("feddyn:0.1")),
            (feature::ACCUMULATION, "the strategy", rows("scaffold")),
            (feature::ACCUMULATION, "the strategy", rows("fednova")),
            ("compress:int8", "the strategy", int8),
            (feature::SCORE_START, "--until-converged", converged),
            (feature::FROZEN, program, experiment()),
            (feature::PHASES, program, experiment()),
            (feature::STEP_LIMIT, program, experiment()),
        ];
        for (lacking, by, experiment) in cases {
            let needed = if by == program { &[feature::FROZEN, feature::PHASES, feature::STEP_LIMIT][..] } else { &[] };
            let told = |lacking: &str| refusal(&experiment, needed, lacking, Place::Shared);
            assert_eq!(told(""), None, "{lacking} of {by}");
            let why = told(lacking).unwrap_or_else(|| panic!("the lack of {lacking} was accepted"));
            let expected = format!("the client scripted lacks the feature {lacking:?}, which {by} needs; ");
            assert!(why.starts_with(&expected), "{why}");
        }
        assert_eq!(refusal(&experiment(), &[], "", Place::Local), None);
        let why = refusal(&experiment(), &[], feature::LOCAL_TENSORS, Place::Local).unwrap();
        assert!(why.contains("\"local-tensors\", which the model with its local tensors needs"), "{why}");
    }

    /// Returns the refusal of clients with all features but `lacking`, whose model has two tensors, one of them in
    /// `place`. A program needs the features `needed`, if there are any.
    fn refusal(
        experiment: &Experiment,
        needed: &'static [&'static str],
        lacking: &str,
        place: Place,
    ) -> Option<String> {
        let features = feature::ALL.into_iter().chain(["compress:int8"]).filter(|name| *name != lacking);
        let features: Vec<String> = features.map(str::to_owned).collect();
        let tensor =
            |name: &str, place| Tensor { name: name.into(), shape: vec![1], place, ..ready().layout[0].clone() };
        let layout = vec![tensor("w", Place::Shared), tensor("own", place)];
        let stage = Stage::new(experiment.clone());
        let script = move |client: &mut ScriptedClient| {
            client.serve_as(Ready { features: features.clone(), layout: layout.clone(), ..ready() });
            exit(0)
        };
        stage.begin(script, |mut run| {
            let program = (!needed.is_empty()).then(|| program_that_lists(&[], needed, |_| ()));
            let (program, _folder) = program.unzip();
            run.clients.program = program;
            run.clients.check_features(experiment).err().map(|error| match error {
                Error::Model(why) => why,
                other => panic!("{other:?}"),
            })
        })
    }

    #[test]
    fn buffers_whose_changes_would_be_transformed_are_refused() {
        let statistic = Tensor { name: "mean".into(), kind: Kind::Buffer, ..ready().layout[0].clone() };
        for (transforms, layout, is_refused) in [
            ("none", vec![statistic.clone()], false),
            ("clip:1", ready().layout, false),
            ("clip:1", vec![statistic.clone()], true),
            ("int8", vec![statistic], true),
        ] {
            let mut experiment = experiment();
            let transforms = Some(transforms.parse().unwrap());
            experiment.strategy.rules = StrategyRows { transforms, ..StrategyRows::default() }.into();
            let script = move |client: &mut ScriptedClient| {
                client.serve_as(Ready { layout: layout.clone(), ..ready() });
                exit(0)
            };
            let checked = Stage::new(experiment.clone()).begin(script, |run| run.clients.check_buffers(&experiment));
            assert_eq!(checked.is_err(), is_refused, "{checked:?}");
            let why = checked.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!is_refused || why.contains("the buffers mean, which no gradient moves"), "{why}");
        }
    }

    #[test]
    fn weights_that_no_process_returns_end_the_run_with_the_cause() {
        let cases: [(Answer, &str); 3] = [
            (|_| false, "it exited with code 3"),
            (
                |client| {
                    client.say(&Reply::Evaluated { blocks: Vec::new() }, None);
                    true
                },
                "it broke the protocol: it answered a request for its weights with \"evaluated\"",
            ),
            (
                |client| {
                    client.say(&Reply::Weights, Some(&[f32::INFINITY, 2.0]));
                    true
                },
                "weight 0 is inf; look at the model's initial weights",
            ),
        ];
        for (answer, expected) in cases {
            // The honest answer begins the run.
            let why = Stage::new(experiment()).begin(answering(1, answer), |mut run| {
                run.clients.initial_weights(&mut run.journal).unwrap_err().to_string()
            });
            assert!(why.starts_with("no client could be started: ") && why.ends_with(expected), "{why}");
        }
    }
}
