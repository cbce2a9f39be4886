//! The content of a ledger: the experiments, the identities and the rounds of a run so far.

mod stretch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

pub use self::stretch::{DealtLine, DylibLine, ReadyLine, Stretch};
use crate::{
    build::Build,
    by_class::ByClass,
    checkpoint::Checkpoint,
    crash::Consequence,
    digest::{clients_sha256, slots_sha256, weights_sha256},
    error::{Error, Result},
    experiment::Experiment,
    file::read_regular,
    finite::Finite,
    format::check_line,
    identity::CodeIdentity,
    line::{Chained, Line, Position},
    names::{LEDGER, MODEL, model_from},
    round_line::{InitialScore, Round, TimedUpdate},
    run_folder::check_holds_run,
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
    /// The score of the initial weights: round 0.
    pub initial: Option<InitialScore>,
    /// The rounds from 1 on, without a gap.
    pub rounds: Vec<Round>,
    /// The SHA-256 of each dylib that was taken later, by the first round that used it.
    pub reloads: BTreeMap<u64, String>,
    /// Client processes that crashed.
    pub failures: u64,
    /// The rounds and clients of which a crash left no score.
    pub unscored: BTreeSet<(u64, u32)>,
    /// The scores by class of the weights after the last round.
    pub by_class: Option<ByClass>,
    /// The result, if the run has ended.
    pub finished: Option<Summary>,
    /// `true` if a session began after the last round.
    pub resumed_since: bool,
    /// All experiments that the run was ever under, the one that is under way last.
    pub experiments: Vec<Experiment>,
    /// `true` if every line is as this version writes it, with nothing added.
    pub is_plain: bool,
}

impl History {
    /// Reads the ledger in `directory`; a line that a power cut tore is left out.
    ///
    /// # Errors
    /// Returns [`Error::RunDirectory`] for a ledger that is missing, does not begin with an experiment, or was edited.
    pub fn read(directory: &Path) -> Result<Self> {
        check_holds_run(directory)?;
        let path = directory.join(LEDGER);
        let broken = |why: String| Error::RunDirectory(format!("{} {why}", path.display()));
        let bytes = read_regular(&path).map_err(|error| broken(format!("cannot be read: {error}; is this a run?")))?;
        let mut lines = Vec::new();
        let mut is_plain = true;
        let mut positions = vec![Position::default()];
        // The bytes after the last line feed are a torn tail.
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
            let line = &line[..line.len() - 1];
            let number = index + 1;
            if index == 0 {
                check_line(line).map_err(|why| Error::RunDirectory(format!("{}: {why}", path.display())))?;
            }
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
            initial: None,
            rounds: Vec::new(),
            reloads: BTreeMap::new(),
            failures: 0,
            unscored: BTreeSet::new(),
            by_class: None,
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
            Line::Dealt { dataset, sizes, held_out, label_counts, partitions_sha256 } => {
                self.stretches[last].dealt = Some(DealtLine {
                    dataset: dataset.into_owned(),
                    sizes: sizes.into_owned(),
                    held_out: held_out.into_owned(),
                    label_counts: label_counts.into_owned(),
                    partitions_sha256: partitions_sha256.into_owned(),
                });
            }
            Line::Ready { model, version, program, weights_sha256, .. } => {
                self.stretches[last].ready = Some(ReadyLine::new([model, version, weights_sha256], program));
            }
            Line::InitialScore(_) if self.initial.is_some() => return false,
            Line::InitialScore(score) => self.initial = Some(score),
            // The scores by class are those of the last round.
            Line::Round(_) if self.by_class.is_some() => return false,
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
            Line::ClientCrashed(crash) => {
                self.failures += 1;
                let place = crash.round.zip(crash.client);
                self.unscored.extend(place.filter(|_| crash.crash.then == Consequence::Unscored));
            }
            Line::ByClass(_) if self.by_class.is_some() => return false,
            Line::ByClass(scores) => self.by_class = Some(scores.into_owned()),
            Line::Finished(summary) => self.finished = Some(summary.into_owned()),
            // If a dylib was taken before this line, its first round failed, and the dylib before it stays.
            Line::ReloadRefused { round, .. } => drop(self.reloads.remove(&round)),
            Line::Isolation { .. } | Line::StrategyIsolation(_) | Line::StrategyCrashed(_) => {}
        }
        true
    }

    /// Returns the lines, the first of which holds the experiment.
    pub fn lines(&self) -> &[Line<'static>] {
        &self.lines
    }

    /// Returns the place after the last line.
    pub fn position(&self) -> &Position {
        &self.positions[self.positions.len() - 1]
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

    /// Returns the first of the rounds up to the end of the ledger that all have this slot of a client and so many
    /// clients; `None` if the last round has not. The state of the server is made of those of all clients.
    pub fn first_round_with(&self, client_slot: &str, clients: u32) -> Option<u64> {
        let has = |Stretch { experiment, .. }: &&Stretch| {
            experiment.clients.count == clients && experiment.client_slots().contains(&client_slot)
        };
        self.stretches.iter().rev().take_while(has).last().map(|stretch| stretch.first_round)
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

    /// Returns the builds that made the run, each once, but for this one.
    pub fn other_builds(&self, this: &Build) -> Vec<Build> {
        let mut builds = Vec::new();
        for line in &self.lines {
            let build = match line {
                Line::Started { build, .. } => build,
                Line::Resumed { build: Some(build), .. } => build,
                _ => continue,
            };
            if build != this && !builds.contains(build) {
                builds.push(build.clone());
            }
        }
        builds
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
        if slots_sha256(&checkpoint.server) != round.server_sha256 {
            return Err(format!("its server state is not that of round {} in the ledger", meta.round));
        }
        if let Some(version) =
            checkpoint.versions.iter().find_map(|(version, weights)| self.differing(*version, weights))
        {
            return Err(format!("its weights of version {version} are not those of that round in the ledger"));
        }
        let changed: Vec<_> = meta.clients.iter().filter(|file| file.round == meta.round).cloned().collect();
        if clients_sha256(&changed) != round.clients_sha256 {
            return Err(format!("its client states are not those of round {} in the ledger", meta.round));
        }
        Ok(())
    }

    /// Returns the version if these are not the weights that its round made, or those before the first round.
    fn differing(&self, version: u64, weights: &[f32]) -> Option<u64> {
        let sha256 = weights_sha256(weights);
        let is_other = match version.checked_sub(1) {
            None => self.stretches[0].ready.as_ref().is_some_and(|ready| ready.weights_sha256 != sha256),
            Some(index) => self.rounds.get(index as usize).is_none_or(|round| round.weights_sha256 != sha256),
        };
        is_other.then_some(version)
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
    /// Rounds in virtual time have [`History::dropped`] instead.
    pub fn participants(&self) -> BTreeMap<u64, Vec<u32>> {
        let partial = self.rounds.iter().filter(|round| !round.participants.is_empty() && round.updates.is_empty());
        partial.map(|round| (round.round, round.participants.clone())).collect()
    }

    /// Returns the trainings in virtual time from which no update arrived, each as the client and its start.
    pub fn dropped(&self) -> BTreeSet<(u32, u64)> {
        let updates = self.rounds.iter().flat_map(|round| &round.updates);
        updates.filter(|update| update.dropped).map(TimedUpdate::key).collect()
    }

    /// Returns the virtual time at which the rounds so far end; 0 without a clock.
    pub fn virtual_seconds(&self) -> f64 {
        self.rounds.iter().rev().find_map(|round| round.virtual_seconds).map_or(0.0, Finite::get)
    }

    /// Returns the dylibs that were taken later, each by the first round that used it.
    pub fn swaps(&self, directory: &Path) -> BTreeMap<u64, PathBuf> {
        self.reloads.keys().map(|&round| (round, directory.join(model_from(round)))).collect()
    }
}

#[cfg(test)]
mod tests;
