//! A run that goes on where it was interrupted.

use std::{io, path::Path};

use fedpipe_data::DatasetInfo;

use crate::{
    Error, Event, Experiment, Program, Result,
    checkpoint::Checkpoint,
    event::Journal,
    history::History,
    ledger::{Ledger, Position},
    run_dir::RunDir,
};

/// What a resume is asked to do.
#[derive(Debug, Clone)]
pub struct Resume<'a> {
    /// The run directory.
    pub directory: &'a Path,
    /// Goes on although the experiment or the dylib differ from what the ledger says; the ledger notes it.
    pub force: bool,
}

/// Where a run goes on.
#[derive(Debug)]
pub(crate) struct Point {
    pub(crate) history: History,
    pub(crate) checkpoint: Option<Checkpoint>,
    forced: Vec<String>,
    force: bool,
}

impl Point {
    /// Finds where the run in the directory goes on, under `experiment`.
    ///
    /// # Errors
    /// [`Error::Output`] for a directory that holds no run or an edited one; [`Error::Usage`] naming what differs.
    pub(crate) fn find(
        resume: &Resume<'_>,
        directory: &RunDir,
        experiment: &Experiment,
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let history = History::read(directory.path())?;
        // A ledger that lost its end, or was edited there, cannot have led to the state of a later checkpoint.
        let checkpoint = Checkpoint::newest(directory.path(), &|place| history.has(place), warn);
        let checkpoint = checkpoint.map_err(|error| Error::in_run("read", directory.path(), &error))?;
        let mut point = Self { history, checkpoint, forced: Vec::new(), force: resume.force };
        for difference in differences(&point.history.experiment, experiment)? {
            point.unless_forced(difference)?;
        }
        if let Some(recorded) = point.history.program.clone() {
            let changes = recorded.changes(&Program::of(experiment, directory)?);
            changes.into_iter().try_for_each(|change| point.unless_forced(change))?;
        }
        Ok(point)
    }

    /// Refuses another dataset than the one that the run began with.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what differs.
    pub(crate) fn check_dataset(&mut self, dataset: &DatasetInfo) -> Result<()> {
        let recorded = self.history.dataset.as_ref().map(|recorded| recorded.sha256.clone());
        match recorded.filter(|recorded| *recorded != dataset.sha256) {
            Some(recorded) => self.unless_forced(format!("the dataset is {}, was {recorded}", dataset.sha256)),
            None => Ok(()),
        }
    }

    /// Refuses clients with other numbers of examples of their own than the run began with.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first that differs.
    pub(crate) fn check_sizes(&self, sizes: &[u64]) -> Result<()> {
        // As many as clients, whose number is the experiment's.
        let mut both = self.history.sizes.iter().zip(sizes).enumerate();
        match both.find(|(_, (recorded, now))| recorded != now) {
            Some((client, (recorded, now))) => Err(Error::Usage(format!(
                "the run cannot be resumed, since the partition of client {client} has {now} examples, had {recorded}"
            ))),
            None => Ok(()),
        }
    }

    /// The last whole round.
    pub(crate) fn round(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.meta.round)
    }

    /// Client processes lost until then.
    pub(crate) fn failures(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.meta.failures)
    }

    fn position(&self) -> Position {
        self.checkpoint.as_ref().map_or(self.history.started.clone(), |checkpoint| checkpoint.meta.ledger.clone())
    }

    /// Cuts the ledger off at this point and says so in it; what only the lines cut off knew of goes too.
    pub(crate) fn journal<'o>(
        &self,
        directory: &RunDir,
        experiment: &Experiment,
        observer: &'o mut dyn crate::Observer,
    ) -> Result<Journal<'o>> {
        let dropped = directory.drop_models_after(self.round())?;
        let position = self.position();
        let cut_lines = self.history.lines_after(&position);
        let ledger: io::Result<Ledger> = Ledger::cut(directory.path(), position);
        let ledger = ledger.map_err(|error| Error::in_run("go on in", directory.path(), &error))?;
        let mut journal = Journal::new(ledger, observer);
        let (round, forced) = (self.round(), self.forced.as_slice());
        journal.tell(&Event::Resumed { experiment, directory: directory.path(), round, cut_lines, forced })?;
        if dropped > 0 {
            journal.tell(&Event::Warning("the model was reloaded after that round: reload it again to have it"))?;
        }
        Ok(journal)
    }

    /// Takes note of a difference, or refuses it.
    fn unless_forced(&mut self, difference: String) -> Result<()> {
        if !self.force {
            return Err(Error::Usage(format!(
                "the run cannot be resumed, since {difference}; --force goes on and notes it in the ledger"
            )));
        }
        self.forced.push(difference);
        Ok(())
    }
}

/// What the two experiments differ in, a sentence each. How a result is computed is no difference.
fn differences(recorded: &Experiment, given: &Experiment) -> Result<Vec<String>> {
    // Through the text, in which an f32 has its shortest form.
    let table = |experiment: &Experiment| -> anyhow::Result<toml::Table> { Ok(toml::to_string(experiment)?.parse()?) };
    let (recorded, given) = (table(recorded)?, table(given)?);
    let mut keys: Vec<&String> = recorded.keys().chain(given.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| !WITHOUT_INFLUENCE.contains(&key.as_str()) && recorded.get(*key) != given.get(*key));
    let shown = |table: &toml::Table, key: &str| table.get(key).map_or("not set".into(), ToString::to_string);
    Ok(keys.into_iter().map(|key| format!("{key} is {}, was {}", shown(&given, key), shown(&recorded, key))).collect())
}

/// Keys that may change from one session of a run to the next.
const WITHOUT_INFLUENCE: [&str; 9] = [
    "processes",
    "jobs",
    "client-timeout",
    "checkpoint-every",
    "on-failure",
    "min-clients",
    "isolation",
    "memory-limit",
    "cpu-limit",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_with_both_values() {
        let recorded = Experiment { clients: 4, jobs: Some(1), ..Experiment::default() };
        let given =
            Experiment { clients: 7, jobs: Some(2), min_clients: Some(3), cpu_limit: Some(9), ..Experiment::default() };
        assert_eq!(differences(&recorded, &given).unwrap(), ["clients is 7, was 4"]);
        assert!(differences(&recorded, &recorded).unwrap().is_empty());
    }
}
