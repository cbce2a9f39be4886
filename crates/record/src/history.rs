//! The content of a ledger: the experiments, the identities and the rounds of a run so far.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fedpipe_data::DatasetInfo;

use crate::{
    checkpoint::Checkpoint,
    digest::{server_sha256, weights_sha256},
    error::{Error, Result},
    experiment::Experiment,
    file::read_regular,
    identity::CodeIdentity,
    line::{Chained, DataIdentity, Line, Position},
    names::{LEDGER, MODEL, PARTITIONS, model_from},
    round_line::Round,
    summary::Summary,
};

/// The content of a ledger, up to a line.
#[derive(Debug)]
pub struct History {
    lines: Vec<Line<'static>>,
    /// The place before the first line and after each.
    positions: Vec<Position>,
    /// At least one.
    pub stretches: Vec<Stretch>,
    /// The rounds from 1 on, without a gap.
    pub rounds: Vec<Round>,
    /// The SHA-256 of each dylib that was taken later, by the first round that used it.
    pub reloads: BTreeMap<u64, String>,
    /// Client processes that crashed.
    pub failures: u64,
    /// The result, if the run has ended.
    pub finished: Option<Summary>,
    /// `true` if a session began after the last round.
    pub resumed_since: bool,
    /// All experiments that the run was ever under, the one that is under way last.
    pub experiments: Vec<Experiment>,
    /// `true` if every line is as this version writes it, with nothing added.
    pub is_plain: bool,
}

/// Consecutive rounds under one experiment. A forced resume begins another stretch.
#[derive(Debug, Clone)]
pub struct Stretch {
    pub first_round: u64,
    pub experiment: Experiment,
    pub dealt: Option<DealtLine>,
    pub ready: Option<ReadyLine>,
}

/// The data of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct DealtLine {
    pub dataset: DatasetInfo,
    /// Examples of each client.
    pub sizes: Vec<u64>,
    /// Of the list of all partitions.
    pub partitions_sha256: String,
}

/// The model of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyLine {
    pub model: String,
    pub version: String,
    pub program: CodeIdentity,
    /// Of the initial weights.
    pub weights_sha256: String,
}

/// A dylib in the run directory, by name, with the SHA-256 that the ledger has.
#[derive(Debug, PartialEq)]
pub struct DylibLine<'h> {
    pub name: String,
    pub sha256: &'h str,
}

impl Stretch {
    /// Returns the stretch under another experiment, with another program and other data where they are given.
    fn forced(
        &self,
        experiment: Experiment,
        program: Option<Cow<'_, CodeIdentity>>,
        data: Option<Cow<'_, DataIdentity>>,
    ) -> Self {
        let mut forced = Self { experiment, ..self.clone() };
        if let (Some(ready), Some(program)) = (&mut forced.ready, program) {
            ready.program = program.into_owned();
        }
        if let (Some(dealt), Some(data)) = (&mut forced.dealt, data) {
            let DataIdentity { dataset_sha256, partitions_sha256 } = data.into_owned();
            dealt.dataset.sha256 = dataset_sha256;
            dealt.partitions_sha256 = partitions_sha256;
        }
        forced
    }
}

impl ReadyLine {
    fn new([model, version, weights_sha256]: [Cow<'_, str>; 3], program: Cow<'_, CodeIdentity>) -> Self {
        Self {
            model: model.into_owned(),
            version: version.into_owned(),
            program: program.into_owned(),
            weights_sha256: weights_sha256.into_owned(),
        }
    }
}

impl DealtLine {
    fn new(dataset: Cow<'_, DatasetInfo>, sizes: Cow<'_, [u64]>, partitions_sha256: Cow<'_, str>) -> Self {
        Self {
            dataset: dataset.into_owned(),
            sizes: sizes.into_owned(),
            partitions_sha256: partitions_sha256.into_owned(),
        }
    }

    /// Returns the difference of the data that were dealt now, a sentence.
    pub fn difference(&self, now: &DataIdentity) -> Option<String> {
        let differ = |what: &str, is: &str, was: &str| (is != was).then(|| format!("{what} {is}, was {was}"));
        differ("the dataset is", &now.dataset_sha256, &self.dataset.sha256).or_else(|| {
            let what = format!("{} has the SHA-256", PARTITIONS);
            differ(&what, &now.partitions_sha256, &self.partitions_sha256)
        })
    }
}

impl History {
    /// Reads the ledger in `directory`; a line that a power cut tore is left out.
    ///
    /// # Errors
    /// [`Error::RunDirectory`] for a ledger that is missing, does not begin with an experiment, or was edited.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(LEDGER);
        let broken = |why: String| Error::RunDirectory(format!("{} {why}", path.display()));
        let bytes = read_regular(&path).map_err(|error| broken(format!("cannot be read: {error}; is this a run?")))?;
        let (mut lines, mut is_plain) = (Vec::new(), true);
        let mut positions = vec![Position::default()];
        // The bytes after the last line feed are a torn tail.
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
            let line = &line[..line.len() - 1];
            let number = index + 1;
            let chained: Chained<'static> = serde_json::from_slice(line)
                .map_err(|error| broken(format!("has a line {number} that is none of a ledger: {error}")))?;
            let before = &positions[index];
            if chained.prev != before.hash {
                return Err(broken(format!("was edited: line {number} does not follow line {index} as it is now")));
            }
            positions.push(before.after(line));
            if is_plain && serde_json::to_vec(&chained).ok().as_deref() != Some(line) {
                is_plain = false;
            }
            lines.push(chained.line);
        }
        let history = Self::of(lines, positions).map_err(broken)?;
        Ok(Self { is_plain, ..history })
    }

    /// Returns the same history up to a place that it has.
    pub fn until(&self, position: &Position) -> Result<Self> {
        let count = self.positions.iter().take_while(|place| place.bytes <= position.bytes).count();
        let (lines, positions) = (self.lines[..count - 1].to_vec(), self.positions[..count].to_vec());
        Self::of(lines, positions).map_err(|why| Error::RunDirectory(format!("the ledger {why}")))
    }

    fn of(lines: Vec<Line<'static>>, positions: Vec<Position>) -> std::result::Result<Self, String> {
        let Some(Line::Started { experiment, .. }) = lines.first() else {
            return Err("does not begin with an experiment; is this a run?".into());
        };
        let experiment = experiment.clone().into_owned();
        let mut history = Self {
            lines: Vec::new(),
            positions,
            experiments: vec![experiment.clone()],
            is_plain: true,
            stretches: vec![Stretch { first_round: 1, experiment, dealt: None, ready: None }],
            rounds: Vec::new(),
            reloads: BTreeMap::new(),
            failures: 0,
            finished: None,
            resumed_since: false,
        };
        for (index, line) in lines.iter().enumerate().skip(1) {
            let number = index + 1;
            if history.finished.is_some() {
                return Err(format!("was edited: line {number} follows the run's end"));
            }
            if !history.take(line) {
                return Err(format!("was edited: line {number} cannot follow the lines before it"));
            }
        }
        history.lines = lines;
        Ok(history)
    }

    /// Begins a stretch in the place of one without rounds.
    fn begin_stretch(&mut self, stretch: Stretch) {
        self.experiments.push(stretch.experiment.clone());
        self.stretches.retain(|before| before.first_round < stretch.first_round);
        self.stretches.push(stretch);
    }

    /// Takes a line. Returns `false` for a line that cannot be there.
    fn take(&mut self, line: &Line<'static>) -> bool {
        let next_round = self.rounds.len() as u64 + 1;
        if line.next_round().is_some_and(|round| round != next_round) {
            return false;
        }
        let last = self.stretches.len() - 1;
        match line.clone() {
            Line::Started { .. } => return false,
            Line::Dealt { dataset, sizes, partitions_sha256 } => {
                self.stretches[last].dealt = Some(DealtLine::new(dataset, sizes, partitions_sha256));
            }
            Line::Ready { model, version, program, weights_sha256 } => {
                self.stretches[last].ready = Some(ReadyLine::new([model, version, weights_sha256], program));
            }
            Line::Round(round) => {
                self.rounds.push(round.into_owned());
                self.resumed_since = false;
            }
            Line::Reloaded { round, dylib_sha256 } => {
                self.reloads.insert(round, dylib_sha256.into_owned());
            }
            Line::Resumed { experiment, program, data, .. } => {
                self.resumed_since = true;
                if let Some(experiment) = experiment {
                    let forced = self.last_stretch().forced(experiment.into_owned(), program, data);
                    self.begin_stretch(Stretch { first_round: next_round, ..forced });
                }
            }
            Line::ClientCrashed(_) => self.failures += 1,
            Line::Finished(summary) => self.finished = Some(summary.into_owned()),
            // If a dylib was taken before this line, its first round failed, and the dylib before it stays.
            Line::ReloadRefused { round, .. } => drop(self.reloads.remove(&round)),
            Line::Isolation { .. } | Line::StrategyIsolation(_) | Line::StrategyCrashed(_) => {}
        }
        true
    }

    /// Returns the stretch that is under way.
    pub fn last_stretch(&self) -> &Stretch {
        &self.stretches[self.stretches.len() - 1]
    }

    /// Returns the stretch that the last round belongs to.
    pub fn stretch_of_last_round(&self) -> &Stretch {
        let last = self.rounds.len() as u64;
        let found = self.stretches.iter().rev().find(|stretch| stretch.first_round <= last);
        found.unwrap_or(&self.stretches[0])
    }

    /// Returns the experiment that is under way.
    pub fn experiment(&self) -> &Experiment {
        &self.last_stretch().experiment
    }

    /// Returns the program that is under way; none before the program was known.
    pub fn program(&self) -> Option<&CodeIdentity> {
        self.last_stretch().ready.as_ref().map(|ready| &ready.program)
    }

    /// Returns the place after the first line, which holds the experiment.
    pub fn started(&self) -> &Position {
        &self.positions[1]
    }

    /// Returns the number of lines after `position`.
    pub fn lines_after(&self, position: &Position) -> u64 {
        self.positions.iter().filter(|other| other.bytes > position.bytes).count() as u64
    }

    /// Checks that a checkpoint holds the state that the ledger has of its round.
    ///
    /// # Errors
    /// The difference.
    pub fn fits(&self, checkpoint: &Checkpoint) -> std::result::Result<(), String> {
        let meta = &checkpoint.meta;
        let line = self.positions.iter().position(|place| *place == meta.ledger).and_then(|end| end.checked_sub(1));
        let Some(Line::Round(round)) = line.map(|line| &self.lines[line]) else {
            return Err("the ledger has no such line".into());
        };
        if round.round != meta.round {
            return Err(format!(
                "its contents are of round {}, and its place in the ledger is that of round {}",
                meta.round, round.round
            ));
        }
        if weights_sha256(&checkpoint.weights) != round.weights_sha256 {
            return Err(format!("its weights are not those of round {} in the ledger", meta.round));
        }
        if server_sha256(&checkpoint.server) != round.server_sha256 {
            return Err(format!("its server state is not that of round {} in the ledger", meta.round));
        }
        Ok(())
    }

    /// Returns the dylib that `round` uses; none if the client is a program, or before the dylib was known.
    pub fn dylib(&self, round: u64) -> Option<DylibLine<'_>> {
        let first = self.program()?.dylib_sha256.as_deref()?;
        let later = self.reloads.range(..=round).next_back();
        Some(later.map_or(DylibLine { name: MODEL.into(), sha256: first }, |(&round, sha256)| DylibLine {
            name: model_from(round),
            sha256,
        }))
    }

    /// Returns the participants of each round in which not every client took part, for a run that repeats this one.
    pub fn participants(&self) -> BTreeMap<u64, Vec<u32>> {
        let partial = self.rounds.iter().filter(|round| !round.participants.is_empty());
        partial.map(|round| (round.round, round.participants.clone())).collect()
    }

    /// Returns the dylibs that were taken later, each by the first round that used it.
    pub fn swaps(&self, directory: &Path) -> BTreeMap<u64, PathBuf> {
        self.reloads.keys().map(|&round| (round, directory.join(model_from(round)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fedpipe_protocol::FailureKind;

    use super::*;
    use crate::{
        cause::Cause,
        crash::{ClientCrash, Consequence, Crash},
        finite::Finite,
        line::Cpu,
    };

    fn zero() -> Finite {
        Finite::try_from(0.0).unwrap()
    }

    fn round(number: u64, participants: &[u32]) -> Line<'static> {
        Line::Round(Cow::Owned(Round {
            round: number,
            accuracy: zero(),
            loss: zero(),
            training_loss: zero(),
            clients: 4,
            failed: 0,
            participants: participants.into(),
            weights_sha256: weights_sha256(&[number as f32]),
            server_sha256: None,
            weights_change: None,
            seconds: zero(),
        }))
    }

    fn resumed(round: u64, experiment: Option<Experiment>, dylib: Option<&str>) -> Line<'static> {
        let program = dylib.map(program);
        let data = DataIdentity { dataset_sha256: "d2".into(), partitions_sha256: "p2".into() };
        Line::Resumed {
            round,
            cut_lines: 0,
            cpu: Cpu::of_this_machine(),
            forced: Cow::Borrowed(&[]),
            data: experiment.as_ref().map(|_| Cow::Owned(data)),
            experiment: experiment.map(Cow::Owned),
            program: program.map(Cow::Owned),
        }
    }

    fn program(dylib: &str) -> CodeIdentity {
        CodeIdentity { dylib_sha256: Some(dylib.into()), ..CodeIdentity::default() }
    }

    fn started() -> [Line<'static>; 3] {
        let dataset = DatasetInfo {
            name: "sample".into(),
            sha256: "d1".into(),
            shape: vec![2],
            classes: 2,
            gap: None,
            train_examples: 4,
            test_examples: 2,
            sample: false,
        };
        [
            Line::Started {
                fedpipe: "0".into(),
                cpu: Cpu::of_this_machine(),
                experiment: Cow::Owned(Experiment::default()),
            },
            Line::Dealt { dataset: Cow::Owned(dataset), sizes: vec![1; 4].into(), partitions_sha256: "p1".into() },
            Line::Ready {
                model: "m".into(),
                version: "1".into(),
                program: Cow::Owned(program("s1")),
                weights_sha256: "w".into(),
            },
        ]
    }

    /// Returns the text of a ledger with these lines after the first three.
    fn ledger(lines: impl IntoIterator<Item = Line<'static>>) -> Vec<u8> {
        let mut position = Position::default();
        let mut bytes = Vec::new();
        for line in started().into_iter().chain(lines) {
            let (text, after) = position.chained(line).unwrap();
            bytes.extend(text);
            position = after;
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<History> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(LEDGER), bytes).unwrap();
        History::read(folder.path())
    }

    fn refusal(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn an_edited_line_is_found_by_the_next_and_a_torn_one_is_left_out() {
        let whole = ledger([round(1, &[]), round(2, &[])]);
        let text = String::from_utf8(whole.clone()).unwrap();
        let edited = text.replacen("\"model\":\"m\"", "\"model\":\"n\"", 1);
        assert!(refusal(edited.as_bytes()).ends_with("was edited: line 4 does not follow line 3 as it is now"));
        let torn = read(&whole[..whole.len() - 1]).unwrap();
        assert_eq!((torn.rounds.len(), torn.is_plain), (1, true));
        let without_start: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
        assert!(refusal(without_start.as_bytes()).contains("line 1 does not follow line 0"));
        assert!(refusal(b"").contains("does not begin with an experiment"));
        assert!(refusal(b"{}\n").contains("has a line 1 that is none of a ledger"));
        // The last line has none after it: an addition there is found by its text alone.
        let added = text.trim_end().strip_suffix('}').unwrap().to_owned() + ",\"more\":1}\n";
        assert!(!read(added.as_bytes()).unwrap().is_plain);
    }

    #[test]
    fn lines_that_cannot_follow_are_refused_by_their_number() {
        let reloaded = |round| Line::Reloaded { round, dylib_sha256: "s2".into() };
        let refused = |round| Line::ReloadRefused { round, reason: "r".into() };
        for line in [round(1, &[]), round(3, &[]), reloaded(1), reloaded(3), refused(1), resumed(2, None, None)] {
            let shown = format!("{line:?}");
            let why = refusal(&ledger([round(1, &[]), line]));
            assert!(why.ends_with("was edited: line 5 cannot follow the lines before it"), "{shown}: {why}");
        }
        let again = started().into_iter().next().unwrap();
        assert!(refusal(&ledger([again])).ends_with("line 4 cannot follow the lines before it"));
    }

    #[test]
    fn a_forced_resume_begins_a_stretch_in_the_place_of_one_without_rounds() {
        let experiment = |epochs| Experiment { epochs, ..Experiment::default() };
        let lines = [
            round(1, &[]),
            resumed(1, Some(experiment(2)), Some("s2")),
            resumed(1, Some(experiment(3)), Some("s3")),
            round(2, &[]),
            resumed(2, None, None),
        ];
        let history = read(&ledger(lines)).unwrap();
        let stretches: Vec<_> =
            history.stretches.iter().map(|stretch| (stretch.first_round, stretch.experiment.epochs)).collect();
        assert_eq!(stretches, [(1, 1), (2, 3)]);
        assert_eq!(history.experiments.iter().map(|one| one.epochs).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(history.program(), Some(&program("s3")));
        let dealt = history.last_stretch().dealt.as_ref().unwrap();
        assert_eq!((dealt.dataset.sha256.as_str(), dealt.partitions_sha256.as_str()), ("d2", "p2"));
        assert!(history.resumed_since);
        assert_eq!(history.stretch_of_last_round().first_round, 2);
    }

    #[test]
    fn a_reload_that_was_reverted_leaves_the_dylib_before() {
        let reloaded = |round, sha256: &'static str| Line::Reloaded { round, dylib_sha256: sha256.into() };
        let lines = [
            round(1, &[]),
            reloaded(2, "s2"),
            round(2, &[]),
            reloaded(3, "s3"),
            Line::ReloadRefused { round: 3, reason: "it failed".into() },
            round(3, &[]),
        ];
        let history = read(&ledger(lines)).unwrap();
        assert_eq!(history.dylib(1), Some(DylibLine { name: MODEL.into(), sha256: "s1" }));
        for round in [2, 3, 9] {
            assert_eq!(history.dylib(round), Some(DylibLine { name: model_from(2), sha256: "s2" }), "round {round}");
        }
        assert_eq!(history.swaps(Path::new("/r")), BTreeMap::from([(2, Path::new("/r").join(model_from(2)))]));
    }

    #[test]
    fn a_history_until_a_round_has_its_rounds_crashes_and_participants() {
        let crash = Crash {
            cause: Cause::reported(FailureKind::Model, "no"),
            after_seconds: zero(),
            then: Consequence::Dropped,
            last_words: Vec::new(),
            log: None,
        };
        let crash = ClientCrash { round: Some(2), client: Some(1), process: 1, crash };
        let history =
            read(&ledger([round(1, &[]), Line::ClientCrashed(Cow::Owned(crash)), round(2, &[0, 2, 3]), round(3, &[])]))
                .unwrap();
        assert_eq!(history.failures, 1);
        assert_eq!(history.participants(), BTreeMap::from([(2, vec![0, 2, 3])]));
        let after_first = history.positions[4].clone();
        let until = history.until(&after_first).unwrap();
        assert_eq!((until.rounds.len(), until.failures), (1, 0));
        assert_eq!(history.lines_after(&after_first), 3);
        assert_eq!(history.lines_after(history.started()), 6);
    }
}
