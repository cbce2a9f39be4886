//! Reads a ledger back: what a run has been told and has done so far.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use fedpipe_data::DatasetInfo;

use crate::{
    Error, Experiment, Program, Result, Round,
    ledger::{Chained, Line, NAME, Position},
    run_dir::RunDir,
};

/// What a ledger says.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) experiment: Experiment,
    /// The place after the line that says what is run.
    pub(crate) started: Position,
    pub(crate) dataset: Option<DatasetInfo>,
    /// Examples of each client.
    pub(crate) sizes: Vec<u64>,
    pub(crate) program: Option<Program>,
    /// Of the initial weights.
    pub(crate) weights_sha256: Option<String>,
    pub(crate) rounds: Vec<Round>,
    /// Rounds from which on the dylib was another.
    reloads: Vec<u64>,
    /// The place after each line.
    positions: Vec<Position>,
}

impl History {
    /// Reads the ledger in `directory`; a line that a power cut tore is left out.
    ///
    /// # Errors
    /// [`Error::Output`] for a ledger that is missing, does not begin with an experiment, or was edited.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(NAME);
        let broken = |why: String| Error::Output(format!("{} {why}", path.display()));
        let bytes = fs::read(&path).map_err(|error| broken(format!("cannot be read: {error}; is this a run?")))?;
        let mut lines = Vec::new();
        let mut positions = vec![Position::default()];
        // What follows the last line feed is a torn tail.
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        for (index, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
            let line = &line[..line.len() - 1];
            let number = index + 1;
            let chained: Chained<'_> = serde_json::from_slice(line)
                .map_err(|error| broken(format!("has a line {number} that is none of a ledger: {error}")))?;
            let before = &positions[index];
            if chained.prev != before.hash {
                return Err(broken(format!("was edited: line {number} does not follow line {index} as it is now")));
            }
            positions.push(before.after(line));
            lines.push(chained.line);
        }
        Self::of(lines, positions).ok_or_else(|| broken("does not begin with an experiment; is this a run?".into()))
    }

    fn of(lines: Vec<Line<'_>>, positions: Vec<Position>) -> Option<Self> {
        let mut lines = lines.into_iter();
        let Some(Line::Started { experiment, .. }) = lines.next() else { return None };
        let mut history = Self {
            experiment: experiment.into_owned(),
            started: positions.get(1)?.clone(),
            dataset: None,
            sizes: Vec::new(),
            program: None,
            weights_sha256: None,
            rounds: Vec::new(),
            reloads: Vec::new(),
            positions,
        };
        for line in lines {
            match line {
                Line::Dealt { dataset, sizes } => {
                    history.dataset = Some(dataset.into_owned());
                    history.sizes = sizes.into_owned();
                }
                Line::Ready { program, weights_sha256, .. } => {
                    history.program = Some(program.into_owned());
                    history.weights_sha256 = Some(weights_sha256.into_owned());
                }
                Line::Round(round) => history.rounds.push(round.into_owned()),
                Line::Reloaded { round, .. } => history.reloads.push(round),
                Line::Started { .. }
                | Line::Isolation { .. }
                | Line::StrategyIsolation(_)
                | Line::Lost(_)
                | Line::Resumed { .. }
                | Line::Finished(_) => {}
            }
        }
        Some(history)
    }

    /// Whether the ledger has a line that ends at `position`.
    pub(crate) fn has(&self, position: &Position) -> bool {
        self.positions.contains(position)
    }

    /// Lines after `position`.
    pub(crate) fn lines_after(&self, position: &Position) -> u64 {
        self.positions.iter().filter(|other| other.bytes > position.bytes).count() as u64
    }

    /// Who took part in each round that not every client took part in, for a run that repeats this one.
    pub(crate) fn participants(&self) -> BTreeMap<u64, Vec<u32>> {
        let partial = self.rounds.iter().filter(|round| !round.participants.is_empty());
        partial.map(|round| (round.round, round.participants.clone())).collect()
    }

    /// The dylibs that were taken later, by the round from which on they were used.
    pub(crate) fn swaps(&self, directory: &Path) -> BTreeMap<u64, PathBuf> {
        self.reloads.iter().map(|&round| (round, directory.join(RunDir::model_from(round)))).collect()
    }
}
