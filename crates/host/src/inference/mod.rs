//! The use of a result: scores the final weights of a run, or predicts by them, in client processes of their own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fedpipe_data::{Cache, DatasetInfo, PartitionFile};
use fedpipe_protocol::{
    EVALUATION_BLOCK, Evaluate, OUTPUTS, Parts, Predictions, Purpose, Reply, Request, Setup, Target, feature,
};
use fedpipe_record::{
    by_class::ByClass,
    digest::{bytes_sha256, weights_sha256},
    experiment::Experiment,
    file::read_regular,
    finite::Finite,
    history::{DealtLine, DylibLine, History, Stretch},
    names,
    regression::Regression,
    summary::Summary,
    weights::from_safetensors,
};

use crate::{
    error::{Error, Result},
    experiment::{client_program, closed::Closed, limits::isolation_of_each, processes::job_count},
    fleet::{
        Fleet, NeededFeature,
        control::Control,
        job::{Check, Incident, Job, Settled},
        job_queue::SettledJob,
    },
    process::{
        conversation::Environment,
        spawn::{ClientCommand, allow_descriptors},
    },
    run::{
        class_scoring::{AllPredictions, merged},
        evaluation_answers::{self, ExpectedScores},
        round::{TestScore, shares, sums_of, test_score},
        setup::{pipe_size, task},
    },
};

/// A run that has ended, with its model.
#[derive(Debug)]
pub struct TrainedRun {
    /// The experiment of the last round.
    pub experiment: Experiment,
    /// The data of the last round.
    pub dataset: DatasetInfo,
    /// The result.
    pub summary: Summary,
    /// The dylib of the last round; none if the client is a program.
    dylib: Option<PathBuf>,
    /// The file of the final weights.
    weights: Vec<u8>,
}

/// The commands that start a client, and the cache that no program may read.
#[derive(Debug, Clone, Copy)]
pub struct InferenceHost<'a> {
    /// The command that starts a client, or the launcher of a program.
    pub command: &'a ClientCommand,
    /// The cache of datasets and partitions.
    pub cache: &'a Cache,
}

/// The scores of the final weights on some examples.
#[derive(Debug, Clone)]
pub struct ExampleScores {
    /// The number of examples.
    pub examples: u64,
    /// The mean loss.
    pub loss: Finite,
    /// The accuracy, from 0 to 1; none for a real target.
    pub accuracy: Option<Finite>,
    /// The errors of a real target.
    pub regression: Option<Regression>,
    /// The scores by class; none for a real target, and for a model that does not predict.
    pub by_class: Option<ByClass>,
}

impl TrainedRun {
    /// Opens the result in a run directory.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a directory without a run that has ended, and for files that were altered.
    pub fn open(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        let history = History::read(directory)?;
        let Stretch { experiment, dealt, .. } = history.stretch_of_last_round();
        let (Some(summary), Some(DealtLine { dataset, .. })) = (&history.finished, dealt) else {
            return Err(Error::Output(format!(
                "{shown} has no result yet; wait for the end of the run, or continue it with `fedpipe run --resume`"
            )));
        };
        let read = |name: &str| {
            let path = directory.join(name);
            read_regular(&path).map_err(|error| Error::in_run("read", &path, &error)).map(|bytes| (path, bytes))
        };
        let dylib = match history.dylib(history.rounds.len() as u64) {
            Some(DylibLine { name, sha256 }) => {
                let (path, bytes) = read(&name)?;
                refuse_altered(&path, sha256, &bytes_sha256(&bytes))?;
                Some(path.canonicalize().map_err(|error| Error::in_run("find", &path, &error))?)
            }
            None => None,
        };
        if experiment.strategy.rules.term.trains_alone() {
            return Err(Error::Usage(format!(
                "the clients of {shown} trained alone, so that it has no global weights; those of each client are in {}",
                directory.join(names::STATE).display()
            )));
        }
        let (_, weights) = read(names::FINAL_WEIGHTS)?;
        let (experiment, dataset) = (experiment.clone(), dataset.clone());
        Ok(Self { experiment, dataset, summary: summary.clone(), dylib, weights })
    }

    /// Opens the result in a run directory whose global weights are a whole model.
    ///
    /// # Errors
    /// Returns those of [`TrainedRun::open`], and [`Error::Usage`] for a run in which tensors stay with the clients.
    pub fn open_whole(directory: &Path) -> Result<Self> {
        let run = Self::open(directory)?;
        if run.summary.local_tensors.is_empty() {
            return Ok(run);
        }
        Err(Error::Usage(format!(
            "the global weights of {} are no whole model: each client has its own {}, in {}, and the global ones are \
             untrained; {} has the scores of the clients' own models, and `fedpipe export` writes the weights as they are",
            directory.display(),
            run.summary.local_tensors.join(", "),
            directory.join(names::STATE).display(),
            names::SUMMARY
        )))
    }

    /// Returns the file of the final weights.
    pub fn weights_file(&self) -> &[u8] {
        &self.weights
    }

    /// Scores the final weights on a file of examples, by class if the model predicts classes.
    ///
    /// # Errors
    /// Returns the errors of an evaluation.
    pub fn evaluate(&self, host: &InferenceHost<'_>, test: &PartitionFile, control: &Control) -> Result<ExampleScores> {
        let asked = self.dataset.target.class_count().map(|_| Predictions::Scores);
        let settled = self.ask(host, test, asked, control)?;
        let failed = |why: &dyn std::fmt::Display| Error::Round(format!("the examples are not scored: {why}"));
        let mut replies = Vec::with_capacity(settled.len());
        let mut parts = Vec::with_capacity(settled.len());
        for settled in settled {
            let (reply, given) = settled.map_err(|exit| failed(&exit.cause))?;
            replies.push(Ok((reply, Parts::default())));
            parts.push(given);
        }
        let sums = sums_of(replies).map_err(|cause| failed(&cause))?;
        let TestScore { loss, accuracy, regression } = test_score(&sums, test.examples).map_err(|why| failed(&why))?;
        let by_class = self.dataset.target.class_count().and_then(|classes| {
            let AllPredictions { confusion, scores } = merged(parts, classes as usize)?;
            Some(ByClass::new(&confusion, classes as usize, scores))
        });
        Ok(ExampleScores { examples: test.examples, loss, accuracy, regression, by_class })
    }

    /// Returns the outputs of the model for a file of examples: (examples, classes) scores, or (examples) predictions
    /// of a real target.
    ///
    /// # Errors
    /// Returns the errors of an evaluation, and [`Error::Model`] for a model that does not predict.
    pub fn predict(&self, host: &InferenceHost<'_>, test: &PartitionFile, control: &Control) -> Result<Vec<f32>> {
        let mut outputs = Vec::new();
        for settled in self.ask(host, test, Some(Predictions::Outputs), control)? {
            let failed = |exit: crate::process::end::ProcessExit| {
                Error::Round(format!("the examples are not predicted: {}", exit.cause))
            };
            let (_, mut parts) = settled.map_err(failed)?;
            outputs.extend(parts.take_f32(OUTPUTS).ok_or_else(|| {
                let model = &self.summary.model;
                Error::Model(format!("the model {model} does not predict; add the method `predict` to it"))
            })?);
        }
        Ok(outputs)
    }

    /// Has client processes evaluate the examples, and returns the results in the order of the examples.
    fn ask(
        &self,
        InferenceHost { command, cache }: &InferenceHost<'_>,
        test: &PartitionFile,
        asked: Option<Predictions>,
        control: &Control,
    ) -> Result<Vec<Settled>> {
        let Self { experiment, dataset, .. } = self;
        let blocks = test.examples.div_ceil(EVALUATION_BLOCK as u64) as u32;
        let count = job_count(experiment).clamp(1, blocks.max(1));
        // A refusal shows where a descriptor is then missing, with its remedy.
        let _ = allow_descriptors(count);
        let task = task(dataset);
        let setup = Setup {
            dylib: self.dylib.clone(),
            dylib_sha256: None,
            test_sha256: Some(test.sha256.clone()),
            options: experiment.model_options.clone(),
            seed: experiment.seed.0,
            init_seed: experiment.init_seed.map(|seed| seed.0),
            isolation: isolation_of_each(experiment),
            purpose: Purpose::Serve { task: task.clone(), partitions: Vec::new(), test: test.path.clone() },
        };
        let (command, launched) = match client_program(experiment)? {
            Some(program) => {
                let closed = Closed::of_cache(cache);
                let (command, launched) = program.launched(command, &closed, experiment.execution.isolation)?;
                (command, Some(launched))
            }
            None => ((*command).clone(), None),
        };
        let logs = tempfile::tempdir().map_err(|error| Error::temporary(&error))?;
        let timeout = Duration::from_secs_f64(experiment.execution.client_timeout);
        let environment = Environment {
            launched,
            pipe_size: pipe_size(count),
            ..Environment::new(Arc::new(command), logs.path().to_owned(), timeout)
        };
        let setups = vec![setup; count as usize];
        let mut fleet =
            Fleet::start(environment, &control.stop, setups, count as usize, experiment.clients.on_failure)?;
        fleet.ready()?;
        let of_predictions = asked.map(|_| NeededFeature { name: feature::PREDICT.to_owned(), by: "a prediction" });
        fleet.require(of_predictions.into_iter().collect())?;
        let weights = Arc::new(self.weights(&fleet)?);
        let check = check(test.examples, task.target);
        let job = |(slot, blocks): (usize, Vec<u32>)| Job {
            slot,
            client: None,
            request: Request::Evaluate(Evaluate { predictions: asked, ..Evaluate::test(blocks) }),
            weights: Some(Arc::clone(&weights)),
            parts: Vec::new(),
            only_scores: true,
        };
        let jobs: Vec<_> =
            shares(blocks, count).into_iter().enumerate().map(job).map(|job| fleet.submit(job, &check)).collect();
        let mut all: Vec<Option<Settled>> = jobs.iter().map(|_| None).collect();
        while let Some(SettledJob { id, settled, .. }) = fleet.next_settled(None, &mut |_: Incident<'_>| Ok(()))? {
            if let Ok(index) = jobs.binary_search(&id) {
                all[index] = Some(settled);
            }
        }
        Ok(all.into_iter().flatten().collect())
    }

    /// Returns the final weights in the order of the model's layout.
    fn weights(&self, fleet: &Fleet) -> Result<Vec<f32>> {
        let weights = from_safetensors(&self.weights, fleet.layout()?)
            .map_err(|why| Error::Output(format!("{} {why}", names::FINAL_WEIGHTS)))?;
        refuse_altered(Path::new(names::FINAL_WEIGHTS), &self.summary.weights_sha256, &weights_sha256(&weights))?;
        Ok(weights)
    }
}

/// Refuses a file whose content is not the one that the ledger names.
fn refuse_altered(path: &Path, recorded: &str, now: &str) -> Result<()> {
    if recorded == now {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::Output(format!("{shown} was altered: its SHA-256 is {now}, was {recorded}; put the file back")))
}

/// Returns the check of an evaluation of so many examples.
fn check(examples: u64, target: Target) -> Arc<Check> {
    Arc::new(move |job: &Job, reply: &Reply, parts: &mut Parts, _: usize| {
        let expected = ExpectedScores { examples, target, remedy: "train the model again" };
        evaluation_answers::evaluated(job, reply, parts, &expected)
    })
}
