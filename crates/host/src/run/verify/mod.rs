//! Runs a run again from its own directory and compares all that the run vouches for.
//!
//! The repeated run has the dylibs of the run, the participants that the ledger names, and each forced resume. Every
//! number of a round is compared, and so are the files with the same facts.

mod record;
mod scores;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use fedpipe_data::{DatasetInfo, counted};
use fedpipe_protocol::Level;
use fedpipe_record::{
    by_class::ByClass,
    experiment::Experiment,
    history::{DealtLine, History, ReadyLine},
    names,
    round_line::Round,
    summary::{Stop, Summary},
};

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
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All that the run vouches for is the same. It does not vouch for the matters named here, a phrase each.
    Same(Vec<String>),
    /// The first difference, a sentence.
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
    Ok(Verification { rounds, compared: repeat.compared, outcome })
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
                let recorded = self.history.rounds.get(now.round as usize - 1)?;
                let difference = round_difference(recorded, now, &self.history.unscored);
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
            Event::ByClass(now) if stretch + 1 == self.history.stretches.len() => self.compare_classes(now),
            _ => None,
        }
    }
}

/// Returns the first difference of the data, a sentence.
fn data_difference(recorded: &DealtLine, now: &DatasetInfo, sizes: &[u64]) -> Option<String> {
    let was = &recorded.dataset;
    let name = &was.name;
    let count = |of: &str, what: &str, now: u64, was: u64| {
        (now != was).then(|| format!("{of} has {} here, {was} in the ledger", counted(now, what)))
    };
    let of_client = |(client, (now, was)): (usize, (&u64, &u64))| {
        count(&format!("client {client}"), "training example", *now, *was)
    };
    count(name, "training example", now.train_examples, was.train_examples)
        .or_else(|| count(name, "test example", now.test_examples, was.test_examples))
        .or_else(|| {
            let hashes = format!("sha256 {:.16} here, {:.16} in the ledger", now.sha256, was.sha256);
            (now.sha256 != was.sha256).then(|| format!("the content of {name} differs ({hashes})"))
        })
        .or_else(|| count("the run", "client", sizes.len() as u64, recorded.sizes.len() as u64))
        .or_else(|| sizes.iter().zip(&recorded.sizes).enumerate().find_map(of_client))
        .or_else(|| {
            (now != was).then(|| format!("the description of {name} in the ledger is not that of the data here"))
        })
}

/// Returns the first difference between two rounds. The seconds of the rounds are not compared.
fn round_difference(recorded: &Round, now: &Round, unscored: &BTreeSet<(u64, u32)>) -> Option<String> {
    let is_unscored = |client| unscored.contains(&(now.round, client));
    let of_clients = |what: &str, recorded, now| scores::of_clients(what, recorded, now, &is_unscored);
    let at = |what: &str| format!("round {}: {what}", now.round);
    unequal(&at("the weights first differ: they are"), &recorded.weights_sha256, &now.weights_sha256)
        .or_else(|| unequal(&at("the server's state is"), &recorded.server_sha256, &now.server_sha256))
        .or_else(|| unequal(&at("the accuracy is"), &recorded.accuracy, &now.accuracy))
        .or_else(|| unequal(&at("the errors are"), &recorded.regression, &now.regression))
        .or_else(|| unequal(&at("the test loss is"), &recorded.loss, &now.loss))
        .or_else(|| of_clients(&at("the scores on held-out examples"), &recorded.held_out, &now.held_out))
        .or_else(|| of_clients(&at("the personal scores"), &recorded.personal, &now.personal))
        .or_else(|| of_clients(&at("the scores of new clients"), &recorded.new_clients, &now.new_clients))
        .or_else(|| unequal(&at("the training loss is"), &recorded.training_loss, &now.training_loss))
        .or_else(|| unequal(&at("the loss before the training is"), &recorded.start_loss, &now.start_loss))
        .or_else(|| unequal(&at("the clients' states are"), &recorded.clients_sha256, &now.clients_sha256))
        .or_else(|| {
            let [recorded, now] =
                [recorded, now].map(|round| (round.bytes_sent, round.bytes_received, round.bytes_of_states));
            unequal(&at("the bytes sent and received are"), &recorded, &now)
        })
        .or_else(|| unequal(&at("the lengths of the updates are"), &recorded.update_norms, &now.update_norms))
        .or_else(|| unequal(&at("the change of the weights is"), &recorded.weights_change, &now.weights_change))
        .or_else(|| {
            let [recorded, now] = [recorded, now].map(|round| (round.clients, &round.participants));
            unequal(&at("the participants are"), &recorded, &now)
        })
}

/// Returns a sentence about two values that differ.
fn unequal<T: PartialEq + std::fmt::Debug>(what: &str, recorded: &T, now: &T) -> Option<String> {
    (recorded != now).then(|| format!("{what} {now:?} here, and {recorded:?} in the ledger"))
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{
        client_scores::{ClientScore, ClientScores},
        finite::Finite,
        regression::Regression,
    };

    use super::*;

    fn scores(correct: u64) -> Option<ClientScores> {
        ClientScores::new(&[ClientScore {
            client: 0,
            examples: 3,
            correct: Some(correct),
            errors: None,
            loss_sum: 1.0,
        }])
        .unwrap()
    }

    #[test]
    fn a_difference_of_the_data_is_one_plain_sentence() {
        let json = serde_json::json!({
            "name": "reg.csv", "sha256": "aa", "shape": [4], "classes": 2, "train_examples": 320, "test_examples": 80,
            "sample": false,
        });
        let dataset: DatasetInfo = serde_json::from_value(json).unwrap();
        let recorded = DealtLine {
            dataset: dataset.clone(),
            sizes: vec![160, 160],
            held_out: vec![],
            label_counts: vec![],
            partitions_sha256: String::new(),
        };
        let cases = [
            (
                DatasetInfo { train_examples: 319, ..dataset.clone() },
                vec![160, 159],
                "reg.csv has 319 training examples here, 320 in the ledger",
            ),
            (
                DatasetInfo { test_examples: 1, ..dataset.clone() },
                vec![160, 160],
                "reg.csv has 1 test example here, 80 in the ledger",
            ),
            (
                DatasetInfo { sha256: "bb".into(), ..dataset.clone() },
                vec![160, 160],
                "the content of reg.csv differs (sha256 bb here, aa in the ledger)",
            ),
            (dataset.clone(), vec![320], "the run has 1 client here, 2 in the ledger"),
            (dataset.clone(), vec![159, 161], "client 0 has 159 training examples here, 160 in the ledger"),
            (
                DatasetInfo { shape: vec![5], ..dataset.clone() },
                vec![160, 160],
                "the description of reg.csv in the ledger is not that of the data here",
            ),
        ];
        for (now, sizes, expected) in cases {
            assert_eq!(data_difference(&recorded, &now, &sizes).as_deref(), Some(expected));
        }
        assert_eq!(data_difference(&recorded, &dataset, &[160, 160]), None);
    }

    #[test]
    fn every_number_of_a_round_but_its_time_is_compared() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let recorded = Round {
            accuracy: Some(finite(0.5)),
            loss: finite(1.0),
            training_loss: finite(1.0),
            clients: 4,
            weights_sha256: "w".into(),
            held_out: scores(2),
            personal: scores(2),
            new_clients: scores(2),
            ..Round::blank(3)
        };
        let difference = |now: &Round| round_difference(&recorded, now, &BTreeSet::new());
        assert_eq!(difference(&Round { seconds: finite(2.0), ..recorded.clone() }), None);
        let errors = Regression { rmse: finite(1.0), mae: finite(1.0), r2: None };
        let others = [
            ("the weights first differ", Round { weights_sha256: "x".into(), ..recorded.clone() }),
            ("the server's state is", Round { server_sha256: Some("s".into()), ..recorded.clone() }),
            ("the accuracy is", Round { accuracy: Some(finite(0.6)), ..recorded.clone() }),
            ("the errors are", Round { regression: Some(errors), ..recorded.clone() }),
            ("the test loss is", Round { loss: finite(2.0), ..recorded.clone() }),
            ("the training loss is", Round { training_loss: finite(2.0), ..recorded.clone() }),
            ("the change of the weights is", Round { weights_change: Some(finite(0.1)), ..recorded.clone() }),
            ("the lengths of the updates are", Round { update_norms: vec![1.0], ..recorded.clone() }),
            ("the loss before the training is", Round { start_loss: Some(finite(0.1)), ..recorded.clone() }),
            ("the clients' states are", Round { clients_sha256: Some("c".into()), ..recorded.clone() }),
            ("the bytes sent and received are", Round { bytes_sent: 1, ..recorded.clone() }),
            ("the participants are", Round { participants: vec![1], ..recorded.clone() }),
            ("the participants are", Round { clients: 3, ..recorded.clone() }),
            ("the scores on held-out examples", Round { held_out: scores(1), ..recorded.clone() }),
            ("the scores on held-out examples", Round { held_out: None, ..recorded.clone() }),
            ("the personal scores", Round { personal: scores(3), ..recorded.clone() }),
            ("the scores of new clients", Round { new_clients: scores(3), ..recorded.clone() }),
        ];
        for (expected, now) in others {
            let difference = difference(&now).unwrap();
            assert!(difference.starts_with("round 3: ") && difference.contains(expected), "{difference}");
        }
    }
}
