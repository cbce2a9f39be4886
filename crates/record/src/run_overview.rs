//! A run in some lines, as lists and comparisons have it: its configuration, its state and its last scores.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    client_scores::ClientScores,
    configuration::{Configuration, SEEDS},
    error::Result,
    finite::Finite,
    history::History,
    names::{EXPERIMENT, LEDGER},
    round_line::Round,
    summary::Stop,
};

/// A run in some lines.
#[derive(Debug, Clone)]
pub struct RunOverview {
    /// The run directory.
    pub directory: PathBuf,
    /// The time at which the run began; `None` if the file system does not have it.
    pub began: Option<SystemTime>,
    /// The state of the run.
    pub state: RunStatus,
    /// The reason why the run failed.
    pub failure: Option<String>,
    /// The configuration of the last round.
    pub configuration: Configuration,
    /// The model, or the command of the client.
    pub model: String,
    /// The SHA-256 of the code and of the dataset, by name.
    pub identity: Configuration,
    /// The seeds of everything random, of the partition, of the initial weights, and of the clients of each round.
    pub seeds: [u64; 4],
    /// The clients.
    pub clients: u32,
    /// The rounds from 1 on.
    pub rounds: Vec<Round>,
    /// The scores of the initial weights, as a round without training; `None` if they were not scored.
    pub initial: Option<Round>,
    /// The seconds of the run; of a resumed run at least those of its rounds.
    pub seconds: f64,
    /// SHA-256 of the last weights; `None` before the first round.
    pub weights_sha256: Option<String>,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display, strum::EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum RunStatus {
    /// The run ended as its experiment says.
    Finished,
    /// A host is at work on the run.
    Running,
    /// The run was stopped or killed; it can be resumed.
    Interrupted,
    /// A round failed.
    Failed,
}

/// A number that measures the result of a run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, strum::Display, strum::EnumString, strum::VariantNames,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Measure {
    /// The accuracy on the test set, in percent.
    Accuracy,
    /// The mean loss on the test set.
    Loss,
    /// The root of the mean squared error on the test set.
    Rmse,
    /// The coefficient of determination on the test set.
    R2,
    /// The accuracy on the held-out examples of the clients that train, in percent.
    HeldOut,
    /// The accuracy on the held-out examples of the model that a client uses, in percent: its own, or the global one.
    Personal,
}

impl Measure {
    /// Returns the value of a round; `None` for a round without it.
    pub fn of(self, round: &Round) -> Option<f64> {
        self.share_of(round).map(|value| self.scale() * value)
    }

    /// Returns the value of a round as the ledger has it: an accuracy is at most 1.
    fn share_of(self, round: &Round) -> Option<f64> {
        let accuracy =
            |scores: &Option<ClientScores>| scores.as_ref().and_then(|scores| scores.accuracy).map(|of| of.mean);
        let value = match self {
            Self::Accuracy => round.accuracy,
            Self::Loss => Some(round.loss),
            Self::Rmse => round.regression.map(|errors| errors.rmse),
            Self::R2 => round.regression.and_then(|errors| errors.r2),
            Self::HeldOut => accuracy(&round.held_out),
            Self::Personal => accuracy(&round.personal).or_else(|| accuracy(&round.held_out)),
        };
        value.map(Finite::get)
    }

    /// Returns `true` if a greater value is better.
    pub fn is_gain(self) -> bool {
        matches!(self, Self::Accuracy | Self::R2 | Self::HeldOut | Self::Personal)
    }

    /// Returns `true` for a share in percent.
    pub fn is_percent(self) -> bool {
        matches!(self, Self::Accuracy | Self::HeldOut | Self::Personal)
    }

    fn scale(self) -> f64 {
        if self.is_percent() { 100.0 } else { 1.0 }
    }
}

impl RunOverview {
    /// Reads the run in `directory`. A run that is under way is `Interrupted` here; a record knows no process.
    ///
    /// # Errors
    /// Returns those of [`History::read`].
    pub fn read(directory: &Path) -> Result<Self> {
        let history = History::read(directory)?;
        let stretch = history.stretch_of_last_round();
        let experiment = &stretch.experiment;
        let (state, failure) = match history.finished.as_ref().map(|summary| &summary.stopped) {
            Some(Stop::Rounds | Stop::Converged | Stop::Reached | Stop::MaxRounds) => (RunStatus::Finished, None),
            Some(Stop::Failed(why)) => (RunStatus::Failed, Some(why.clone())),
            Some(Stop::Signal(_)) | None => (RunStatus::Interrupted, None),
        };
        let of_rounds = history.rounds.iter().map(|round| round.seconds.get()).sum::<f64>();
        let of_session = history.finished.as_ref().map_or(0.0, |summary| summary.wall_seconds.get());
        let initial = history.initial.map(|score| Round {
            accuracy: score.accuracy,
            regression: score.regression,
            loss: score.loss,
            ..Round::blank(0)
        });
        Ok(Self {
            directory: directory.to_owned(),
            began: fs::metadata(directory.join(EXPERIMENT)).and_then(|data| data.modified()).ok(),
            state,
            failure,
            configuration: Configuration::of(experiment),
            model: experiment.client.clone().unwrap_or_else(|| experiment.model.clone()),
            identity: identity(&history),
            seeds: [experiment.seed.0, experiment.data_seed(), experiment.init_seed(), experiment.sample_seed()],
            clients: experiment.clients.count,
            initial,
            seconds: if of_session > of_rounds { of_session } else { of_rounds },
            weights_sha256: history.rounds.last().map(|round| round.weights_sha256.clone()),
            rounds: history.rounds,
        })
    }

    /// Returns the dataset, its `target` and `label`, and `true` for a real target. The results of runs that differ in
    /// one of them have no order.
    pub fn task(&self) -> ([Option<&str>; 3], bool) {
        let is_real = self.rounds.last().is_some_and(|round| round.regression.is_some());
        let [target, label] = ["data.target", "data.label"].map(|key| self.configuration.get(key));
        ([self.identity.get("dataset"), target, label], is_real)
    }

    /// Returns the last value of a measure; `None` if no round has it.
    pub fn last(&self, measure: Measure) -> Option<f64> {
        self.rounds.iter().rev().find_map(|round| measure.of(round))
    }

    /// Returns the last value of a measure as the ledger has it: an accuracy is at most 1.
    pub fn last_share(&self, measure: Measure) -> Option<f64> {
        self.rounds.iter().rev().find_map(|round| measure.share_of(round))
    }

    /// Returns the values of a measure by round, the initial weights first.
    pub fn curve(&self, measure: Measure) -> impl Iterator<Item = (u64, f64)> {
        let rounds = self.initial.iter().chain(&self.rounds);
        rounds.filter_map(move |round| Some((round.round, measure.of(round)?)))
    }

    /// Returns the text of a key, or of a seed that is that of `seed`; `None` if the experiment leaves the key out.
    pub fn value(&self, path: &str) -> Option<String> {
        let seed = || SEEDS.iter().position(|seed| *seed == path).map(|place| self.seeds[place].to_string());
        self.configuration.get(path).map(str::to_owned).or_else(seed)
    }

    /// Returns the seconds as a number that JSON holds.
    pub fn wall_seconds(&self) -> Option<Finite> {
        self.seconds.try_into().ok()
    }
}

/// Returns the runs in `folder`: itself, or those in its folders, at most four levels deep, sorted by path.
pub fn runs_in(folder: &Path) -> Vec<PathBuf> {
    const LEVELS: usize = 4;
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, level)) = folders.pop() {
        if folder.join(LEDGER).is_file() {
            found.push(folder);
            continue;
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        // A link may lead back.
        let below = entries.filter(|entry| level < LEVELS && entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let is_shown = |path: &PathBuf| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        folders.extend(below.map(|entry| entry.path()).filter(is_shown).map(|path| (path, level + 1)));
    }
    found.sort();
    found
}

fn identity(history: &History) -> Configuration {
    let mut identity = Configuration::default();
    let stretch = history.stretch_of_last_round();
    if let Some(dealt) = &stretch.dealt {
        // A test set that a seed drew is another for each seed, as the order of the examples is.
        let dataset = dealt.dataset.drawn_from.as_ref().unwrap_or(&dealt.dataset.sha256);
        identity.insert("dataset", dataset.clone());
    }
    if let Some(ready) = &stretch.ready {
        let program = &ready.program;
        program.dylib_sha256.iter().for_each(|sha256| identity.insert("model.so", sha256.clone()));
        let files = program.client_sha256.iter().chain(&program.strategy_sha256);
        files.for_each(|(word, sha256)| identity.insert(word, sha256.clone()));
    }
    identity
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client_scores::ClientScore, regression::Regression};

    #[test]
    fn a_measure_is_in_the_units_of_a_reader() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let regression = Some(Regression { rmse: finite(3.0), mae: finite(2.0), r2: None });
        let round = Round { accuracy: Some(finite(0.85)), regression, loss: finite(0.5), ..Round::blank(1) };
        let score = ClientScore { client: 0, examples: 4, correct: Some(3), errors: None, loss_sum: 1.0 };
        let round = Round { personal: ClientScores::new(&[score]).unwrap(), ..round };
        let values =
            [Measure::Accuracy, Measure::Loss, Measure::Rmse, Measure::R2, Measure::HeldOut, Measure::Personal];
        let expected = [Some(85.0), Some(0.5), Some(3.0), None, None, Some(75.0)];
        assert_eq!(values.map(|measure| measure.of(&round)), expected);
        assert_eq!("held-out".parse(), Ok(Measure::HeldOut));
        assert_eq!(Measure::R2.to_string(), "r2");
    }

    #[test]
    fn runs_are_found_in_folders_of_folders_and_not_in_runs() {
        let place = tempfile::tempdir().unwrap();
        for run in ["a", "sweep/000", "sweep/001", "sweep/001/inner", ".hidden", "1/2/3/4/5"] {
            fs::create_dir_all(place.path().join(run)).unwrap();
            fs::write(place.path().join(run).join(LEDGER), "").unwrap();
        }
        let found = runs_in(place.path());
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(place.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a", "sweep/000", "sweep/001"]);
        assert_eq!(runs_in(&place.path().join("a")), [place.path().join("a")]);
        assert!(runs_in(&place.path().join("absent")).is_empty());
    }
}
