//! A run in some lines, as lists and comparisons have it: its configuration, its state and its last scores.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    configuration::{Configuration, SEEDS},
    error::Result,
    finite::Finite,
    history::History,
    measure::{CurveAxis, Measure},
    names::{EXPERIMENT, LEDGER},
    round_line::Round,
    summary::Stop,
    target::{MeasuredOn, TargetScore, TargetTime},
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
    /// `true` if there is a common test set; `false` if each client has its own test examples.
    pub has_test_set: bool,
    /// The examples on which a target is measured.
    pub measured_on: MeasuredOn,
    /// The time until the target of the experiment; `None` if it has none.
    pub target: Option<TargetTime>,
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
            loss: Some(score.loss),
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
            has_test_set: experiment.has_test_set(),
            measured_on: experiment.measured_on(),
            target: experiment.until.map(|target| target.time(experiment.measured_on(), &history.rounds)),
            seconds: if of_session > of_rounds { of_session } else { of_rounds },
            weights_sha256: history.rounds.last().map(|round| round.weights_sha256.clone()),
            rounds: history.rounds,
        })
    }

    /// Returns a finished run of one configuration with these rounds and no other record, which tests fill in.
    pub fn blank(rounds: Vec<Round>) -> Self {
        Self {
            directory: PathBuf::from("x"),
            began: None,
            state: RunStatus::Finished,
            failure: None,
            configuration: Configuration::default(),
            model: "mlp".into(),
            identity: Configuration::default(),
            seeds: [0; 4],
            clients: 4,
            rounds,
            initial: None,
            seconds: 1.0,
            has_test_set: true,
            measured_on: MeasuredOn::TestSet,
            target: None,
            weights_sha256: None,
        }
    }

    /// Returns the run with the time until another target than that of its experiment.
    pub fn with_target(mut self, target: TargetScore) -> Self {
        self.target = Some(target.time(self.measured_on, &self.rounds));
        self
    }

    /// Returns the dataset, its `target` and `label`. The results of runs that differ in one of them have no order.
    pub fn task(&self) -> [Option<&str>; 3] {
        let [target, label] = ["data.target", "data.label"].map(|key| self.configuration.get(key));
        [self.identity.get("dataset"), target, label]
    }

    /// Returns the last value of a measure, or that of the whole run; `None` if no round has it.
    pub fn last(&self, measure: Measure) -> Option<f64> {
        self.time(measure).or_else(|| self.rounds.iter().rev().find_map(|round| measure.of(round)))
    }

    /// Returns the last value of a measure as the ledger has it: an accuracy is at most 1.
    pub fn last_share(&self, measure: Measure) -> Option<f64> {
        self.time(measure).or_else(|| self.rounds.iter().rev().find_map(|round| measure.share_of(round)))
    }

    /// Returns the value of a measure of the whole run; `None` for another measure, and before the target.
    fn time(&self, measure: Measure) -> Option<f64> {
        let target = self.target.as_ref();
        let seconds = match measure {
            Measure::Seconds => return Some(self.seconds),
            Measure::RoundsToTarget => return Some(target?.round? as f64),
            Measure::SecondsToTarget => target?.seconds,
            Measure::VirtualSeconds => self.rounds.last()?.virtual_seconds,
            Measure::VirtualSecondsToTarget => target?.virtual_seconds,
            _ => None,
        };
        seconds.map(Finite::get)
    }

    /// Returns the values of a measure over an axis. The initial weights come first, at 0, if a round has the measure.
    pub fn curve(&self, measure: Measure, axis: CurveAxis) -> Vec<(f64, f64)> {
        let places = axis.places(&self.rounds);
        let points = self.rounds.iter().zip(places).filter_map(|(round, place)| Some((place?, measure.of(round)?)));
        let points: Vec<(f64, f64)> = points.collect();
        let initial = self.initial.as_ref().filter(|_| !points.is_empty()).and_then(|round| measure.of(round));
        initial.map(|value| (0.0, value)).into_iter().chain(points).collect()
    }

    /// Returns the text of a key, or of a seed that is that of `seed`; `None` if the experiment leaves the key out.
    pub fn value(&self, path: &str) -> Option<String> {
        let seed = || SEEDS.iter().position(|seed| *seed == path).map(|place| self.seeds[place].to_string());
        self.configuration.get(path).map(str::to_owned).or_else(seed)
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

    #[test]
    fn a_run_has_the_time_until_a_target_and_curves_over_each_axis() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let round = |number, accuracy| Round {
            accuracy: Some(finite(accuracy)),
            seconds: finite(0.5),
            virtual_seconds: Some(finite(10.0 * number as f64)),
            ..Round::blank(number)
        };
        let initial = Round { accuracy: Some(finite(0.1)), ..Round::blank(0) };
        let run = RunOverview { initial: Some(initial), ..RunOverview::blank(vec![round(1, 0.5), round(2, 0.75)]) };
        let curve = |axis| run.curve(Measure::Accuracy, axis);
        assert_eq!(curve(CurveAxis::Round), [(0.0, 10.0), (1.0, 50.0), (2.0, 75.0)]);
        assert_eq!(curve(CurveAxis::VirtualSeconds), [(0.0, 10.0), (10.0, 50.0), (20.0, 75.0)]);
        assert_eq!(run.curve(Measure::Personal, CurveAxis::Round), [], "no round has the measure");
        let times = |run: &RunOverview| Measure::TIMES.map(|measure| run.last(measure));
        assert_eq!(times(&run), [None, Some(1.0), None, Some(20.0), None]);
        let reached = run.clone().with_target("accuracy=0.6".parse().unwrap());
        assert_eq!(times(&reached), [Some(2.0), Some(1.0), Some(1.0), Some(20.0), Some(20.0)]);
        let missed = run.with_target("accuracy=0.8".parse().unwrap());
        assert_eq!(times(&missed), [None, Some(1.0), None, Some(20.0), None]);
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
