//! Runs a run again from its own directory and compares all that the run vouches for.
//!
//! The repeated run has the dylibs of the run, the participants that the ledger names, and each forced resume. Every
//! number of a round is compared, and so are the files with the same facts.

mod differences;
mod record;
mod scores;

use std::path::{Path, PathBuf};

use fedpipe_data::counted;
use fedpipe_protocol::Level;
use fedpipe_record::{
    build::Build,
    by_class::ByClass,
    experiment::Experiment,
    history::{History, ReadyLine},
    names,
    summary::{Stop, Summary},
};

use self::differences::{data_difference, round_difference, unequal};
use crate::{
    disk::temporary_folder,
    error::{Error, Result},
    experiment::launch::Launch,
    fleet::control::Control,
    process::spawn::ClientCommand,
    run::{
        code_identity::program_files,
        directory::RunDir,
        event::{Event, Observer},
        resume,
        resume::Resume,
        run_from_start,
    },
};

/// A verification: how far it came, and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The rounds that the ledger has.
    pub rounds: u64,
    /// The rounds that were repeated and are the same.
    pub compared: u64,
    /// The result.
    pub outcome: Outcome,
    /// The builds that made the run, but for this one.
    pub other_builds: Vec<Build>,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All that the run vouches for is the same. It does not vouch for the matters named here, a phrase each.
    Same(Vec<String>),
    /// The first difference: a sentence, of which lines that begin with two spaces have the values.
    Differs(String),
    /// A signal stopped the verification.
    Stopped(i32),
}

/// A request to verify a run, and the means to run it again.
#[derive(Debug, Clone, Copy)]
pub struct VerifyRequest<'a> {
    /// The run directory.
    pub directory: &'a Path,
    /// The isolation of the repeated run, if it is not that of the run.
    pub isolation: Option<Level>,
    /// The command that starts a client.
    pub command: &'a ClientCommand,
    /// The folder of datasets and partitions.
    pub cache: &'a fedpipe_data::Cache,
}

/// Runs a run again and compares.
///
/// # Errors
/// Returns [`Error::Output`] for a directory that holds no run or an edited ledger, [`Error::Usage`] for a run that
/// cannot be repeated here; those of [`run_from_start`].
pub fn verify(request: &VerifyRequest<'_>, control: &Control, observer: &mut dyn Observer) -> Result<Verification> {
    let directory = request.directory;
    RunDir::refuse_busy(directory)?;
    let history = History::read(directory)?;
    let rounds = history.rounds.len() as u64;
    let mut repeat = Repeat { history: &history, compared: 0, has_classes: false, difference: None };
    let end = match record::difference(directory, &history)? {
        Some(difference) => Ok(End::Differs(difference)),
        None => {
            check(directory, &history)?;
            let scratch = temporary_folder("fedpipe-verify-")?;
            repeat.repeat_rounds(&RepeatPlace { request, scratch: scratch.path() }, control, observer)
        }
    };
    let outcome = match end {
        Ok(End::Differs(difference)) => Outcome::Differs(difference),
        Ok(End::Stopped(signal)) | Err(Error::Stopped(signal)) => Outcome::Stopped(signal),
        Ok(End::Whole) if repeat.compared == rounds => Outcome::Same(record::not_vouched_for(directory, &history)),
        Ok(End::Whole) => {
            let all = counted(rounds, "round");
            Outcome::Differs(format!("only {} of {all} could be repeated", repeat.compared))
        }
        Err(error) => return Err(error),
    };
    let other_builds = history.other_builds(&Build::of_this_program());
    Ok(Verification { rounds, compared: repeat.compared, outcome, other_builds })
}

/// Refuses a run that cannot be repeated here.
fn check(directory: &Path, history: &History) -> Result<()> {
    let refuse = |why: String| Err(Error::Usage(format!("the run cannot be verified, since {why}")));
    if history.stretches.iter().any(|stretch| stretch.experiment.data.partition.is_own()) {
        return refuse("its training examples were the clients' own (--partition own) and are not here".into());
    }
    if history.rounds.is_empty() {
        return Err(Error::Usage(format!("{} has no whole round to verify", directory.display())));
    }
    let program = history.program();
    for stretch in &history.stretches {
        let Some(ready) = &stretch.ready else { continue };
        let files = program_files(&stretch.experiment)?;
        if let Some(change) = ready.program.changes(&files).first() {
            return refuse(change.clone());
        }
        let first = stretch.first_round;
        if program.is_some_and(|last| last.dylib_sha256 != ready.program.dylib_sha256) {
            let sha256 = ready.program.dylib_sha256.as_deref().unwrap_or("another");
            return refuse(format!("a forced resume replaced the dylib ({sha256}) of round {first} and later ones"));
        }
    }
    Ok(())
}

/// The run that is verified and the folder in which it is run again.
struct RepeatPlace<'p> {
    request: &'p VerifyRequest<'p>,
    scratch: &'p Path,
}

impl RepeatPlace<'_> {
    /// Returns the directory of the repeated run.
    fn out(&self) -> PathBuf {
        self.scratch.join("run")
    }

    /// Returns the experiment of a stretch with at least so many rounds. A learning rate or an interval of scores may
    /// depend on rounds that were never done.
    fn experiment(&self, recorded: &Experiment, rounds: u64) -> Experiment {
        let rounds = recorded.last_round().max(rounds);
        // A client without a score may have kept the run from its target.
        let mut experiment = Experiment { rounds, max_rounds: rounds, until: None, ..recorded.clone() };
        experiment.execution.isolation = self.request.isolation.unwrap_or(experiment.execution.isolation);
        experiment
    }

    /// Returns the launch of a stretch of `history` up to a round, with the participants and the dylibs that it names.
    fn launch(&self, history: &History, experiment: &Experiment, ends_after: u64) -> Launch {
        let VerifyRequest { directory, command, cache, .. } = *self.request;
        Launch {
            command: command.clone(),
            launcher: command.clone(),
            dylib: experiment.client.is_none().then(|| directory.join(names::MODEL)),
            out: Some(self.out()),
            overwrite: false,
            cache: cache.verifying(&self.scratch.join("data")),
            inputs_folder: Some(directory.to_owned()),
            closed: vec![directory.to_owned(), self.scratch.to_owned()],
            replay: history.participants(),
            dropped: history.dropped(),
            swaps: history.swaps(directory),
            ends_after: Some(ends_after),
        }
    }
}

/// A run that is being repeated.
struct Repeat<'h> {
    history: &'h History,
    compared: u64,
    /// `true` if the repeated run was scored by class.
    has_classes: bool,
    difference: Option<String>,
}

/// The end of a repeated run.
enum End {
    Whole,
    Differs(String),
    Stopped(i32),
}

impl Repeat<'_> {
    fn repeat_rounds(
        &mut self,
        place: &RepeatPlace<'_>,
        control: &Control,
        observer: &mut dyn Observer,
    ) -> Result<End> {
        let history = self.history;
        let out = place.out();
        for (index, stretch) in history.stretches.iter().enumerate() {
            let next = history.stretches.get(index + 1);
            let last_round = next.map_or(history.rounds.len() as u64, |next| next.first_round - 1);
            let is_scored_by_class = next.is_none() && history.by_class.is_some();
            if last_round < stretch.first_round && !is_scored_by_class {
                // Nothing was done under it.
                continue;
            }
            let experiment = place.experiment(&stretch.experiment, last_round);
            let launch = place.launch(history, &experiment, last_round);
            let mut compare = |event: &Event<'_>| {
                if self.difference.is_none() {
                    self.difference = self.compare(index, event);
                }
                anyhow::ensure!(self.difference.is_none(), "the run differs");
                observer.observe(event)
            };
            let ended = match index {
                0 => run_from_start(&experiment, &launch, control, &mut compare),
                _ => resume(&Resume { directory: &out, force: true }, &experiment, &launch, control, &mut compare),
            };
            if let Some(difference) = self.difference.take() {
                return Ok(End::Differs(difference));
            }
            if let Stop::Signal(signal) = ended?.stopped {
                return Ok(End::Stopped(signal));
            }
        }
        if history.by_class.is_some() && !self.has_classes {
            return Ok(End::Differs("the run has no scores by class here, and some in the ledger".into()));
        }
        let weights = record::weights_difference(place.request.directory, &out)?;
        Ok(weights.map_or(End::Whole, End::Differs))
    }

    /// Returns the difference between the scores by class. A run that was stopped has none.
    fn compare_classes(&mut self, now: &ByClass) -> Option<String> {
        self.has_classes = true;
        let is_whole = |summary: &Summary| !matches!(summary.stopped, Stop::Signal(_) | Stop::Failed(_));
        match &self.history.by_class {
            Some(recorded) => scores::of_classes(recorded, now),
            None if self.history.finished.as_ref().is_some_and(is_whole) => {
                Some("the scores by class are missing in the ledger".into())
            }
            None => None,
        }
    }

    /// Returns the difference between an event and the line that the ledger has in its place.
    fn compare(&mut self, stretch: usize, event: &Event<'_>) -> Option<String> {
        let recorded = &self.history.stretches[stretch];
        match event {
            Event::Dealt { dataset, sizes, held_out, label_counts, partitions_sha256 } => {
                let line = recorded.dealt.as_ref()?;
                data_difference(line, dataset, sizes)
                    .or_else(|| unequal("the counts of labels are", &line.label_counts.as_slice(), label_counts))
                    .or_else(|| unequal("the held-out examples are", &line.held_out.as_slice(), held_out))
                    .or_else(|| unequal("the partitions are", &line.partitions_sha256.as_str(), partitions_sha256))
            }
            Event::Ready { model, weights_sha256, .. } => {
                let ReadyLine { model: name, version, weights_sha256: weights, .. } = recorded.ready.as_ref()?;
                unequal("the model is", &(name, version), &(&model.name, &model.version))
                    .or_else(|| unequal("the initial weights are", &weights.as_str(), weights_sha256))
            }
            Event::RoundEnded(now) => {
                let has_test_set = recorded.experiment.has_test_set();
                let recorded = self.history.rounds.get(now.round as usize - 1)?;
                let difference = round_difference(recorded, now, &self.history.unscored, has_test_set);
                self.compared += u64::from(difference.is_none());
                difference
            }
            Event::InitialScored(now) => {
                let score = self.history.initial?;
                unequal("the test loss of the initial weights is", &score.loss, &now.loss)
                    .or_else(|| unequal("the accuracy of the initial weights is", &score.accuracy, &now.accuracy))
                    .or_else(|| unequal("the errors of the initial weights are", &score.regression, &now.regression))
            }
            // A stretch before the last one may have other weights.
            // A stretch before the last one may have had another strategy.
            Event::Finished(now) if stretch + 1 == self.history.stretches.len() => {
                let recorded = self.history.finished.as_ref()?;
                unequal("the tensors that stay with each client are", &recorded.local_tensors, &now.local_tensors)
            }
            Event::ByClass(now) if stretch + 1 == self.history.stretches.len() => self.compare_classes(now),
            _ => None,
        }
    }
}
