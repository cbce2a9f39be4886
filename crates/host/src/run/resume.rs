//! The resume of an interrupted run: the checkpoint at which the run continues, and the differences that forbid it.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

use fedpipe_data::{Dealt, counted};
use fedpipe_protocol::Layout;
use fedpipe_record::{
    build::Build,
    checkpoint::{Checkpoint, Refused},
    client_state,
    digest::bytes_sha256,
    experiment::{EXECUTION, Experiment},
    experiment_key::ExperimentKey,
    history::{DealtLine, DylibLine, History, Stretch},
    identity::CodeIdentity,
    line::{Cpu, DataIdentity, Line},
    names,
};

use crate::{
    error::{Error, Result},
    run::{
        code_identity::code_identity,
        directory::RunDir,
        event::{Event, Journal},
        ledger::Ledger,
    },
};

/// A request to resume a run.
#[derive(Debug, Clone)]
pub struct Resume<'a> {
    /// The run directory.
    pub directory: &'a Path,
    /// `true` continues although the experiment or the dylib differs from the ledger, which records the difference.
    pub force: bool,
}

/// The point at which a run continues.
#[derive(Debug)]
pub(crate) struct Point {
    /// The ledger until this point.
    pub(crate) history: History,
    /// The state after the last round; none if the run begins again.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Checkpoints whose contents do not fit the ledger.
    refused: Vec<PathBuf>,
    /// The program of the clients now.
    program: CodeIdentity,
    /// The data of this session; none before they are dealt.
    data: Option<DataIdentity>,
    /// The data of the whole ledger, with the lines after this point.
    dealt: Option<DealtLine>,
    /// Lines after this point, and whether there are rounds among them.
    cut_lines: u64,
    cuts_rounds: bool,
    /// The differences from the ledger until this point, and those that this resume forces.
    forced: Vec<String>,
    force: bool,
}

/// The newest whole checkpoint, if there is one, and the newer ones whose contents do not fit the ledger.
struct Newest {
    checkpoint: Option<Checkpoint>,
    refused: Vec<PathBuf>,
}

impl Newest {
    /// Looks at the checkpoints from the newest to the oldest. A ledger whose end is missing or
    /// edited cannot have led to the state of a later checkpoint.
    fn find(directory: &RunDir, ledger: &History, warn: &mut dyn FnMut(String)) -> Result<Self> {
        let fits = |checkpoint: &Checkpoint| {
            ledger.fits(checkpoint).and_then(|()| client_state::check(directory.path(), &checkpoint.meta.clients))
        };
        let all = Checkpoint::all(directory.path(), &fits);
        let mut refused = Vec::new();
        for (path, found) in all.map_err(|error| Error::in_run("read", directory.path(), &error))? {
            match found {
                Ok(newest) => return Ok(Self { checkpoint: Some(newest), refused }),
                Err(why) => {
                    warn(format!("{} is refused: {why}", path.display()));
                    // A file that cannot be read now may be whole.
                    refused.extend(matches!(why, Refused::Unfit(_)).then_some(path));
                }
            }
        }
        Ok(Self { checkpoint: None, refused })
    }
}

impl Point {
    /// Finds the point at which the run in the directory continues under `experiment`.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a directory that holds no run or an edited one; [`Error::Usage`] naming what
    /// differs.
    pub(crate) fn find(
        resume: &Resume<'_>,
        directory: &RunDir,
        experiment: &Experiment,
        warn: &mut dyn FnMut(String),
    ) -> Result<Self> {
        let whole = History::read(directory.path())?;
        let Newest { checkpoint, refused } = Newest::find(directory, &whole, warn)?;
        let found = checkpoint.as_ref().map(|checkpoint| checkpoint.meta.ledger.clone());
        let position = found.unwrap_or_else(|| whole.started().clone());
        let history = whole.until(&position)?;
        let program = code_identity(experiment, directory)?;
        let mut point = Self {
            checkpoint,
            refused,
            dealt: whole.last_stretch().dealt.clone(),
            cut_lines: whole.lines_after(&position),
            cuts_rounds: whole.rounds.len() > history.rounds.len(),
            forced: all_differences(&history, experiment, &program)?,
            force: resume.force,
            data: None,
            program,
            history,
        };
        // A change that an earlier resume forced needs no second `--force`, although its line may come after this
        // point.
        all_differences(&whole, &not_longer(experiment, whole.experiment()), &point.program)?
            .into_iter()
            .try_for_each(|difference| point.unless_forced(difference))?;
        point.check_dylib(directory)?;
        Ok(point)
    }

    /// Refuses a dylib that was taken later and is not the one that the ledger has.
    fn check_dylib(&self, directory: &RunDir) -> Result<()> {
        match self.history.dylib(self.round() + 1) {
            Some(DylibLine { name, sha256 }) if name != names::MODEL => {
                let now = directory.dylib(&name)?;
                let first = self.history.program().and_then(|program| program.dylib_sha256.as_ref());
                if first != self.program.dylib_sha256.as_ref() {
                    return Err(Error::Output(format!(
                        "the run cannot be resumed, since its first dylib {} was altered, which a verification needs; put the \
                         file back",
                        directory.path().join(names::MODEL).display()
                    )));
                }
                if now.sha256 != sha256 {
                    return Err(Error::Output(format!(
                        "the run cannot be resumed, since its dylib {} is {}, was {sha256}; put the file back",
                        now.path.display(),
                        now.sha256
                    )));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns the first of the rounds until here whose virtual time follows from the experiment and the data of this
    /// session. An event depends on all of them.
    pub(crate) fn first_round_in_time(&self, experiment: &Experiment) -> u64 {
        let data = self.data.as_ref().map(|data| &data.partitions_sha256);
        let has_same_time = |stretch: &&Stretch| {
            let partitions = stretch.dealt.as_ref().map(|dealt| &dealt.partitions_sha256);
            let has_same_data = data.is_none() || partitions.is_none() || partitions == data;
            has_same_data && timed_part(&stretch.experiment) == timed_part(experiment)
        };
        let same = self.history.stretches.iter().rev().take_while(has_same_time).last();
        same.map_or(self.round() + 1, |stretch| stretch.first_round)
    }

    /// Returns the name of the dylib that the next round uses.
    pub(crate) fn dylib(&self) -> String {
        self.history.dylib(self.round() + 1).map_or(names::MODEL.into(), |dylib| dylib.name)
    }

    /// Refuses other data than the run had last.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what differs.
    pub(crate) fn check_data(&mut self, dealt: &Dealt) -> Result<()> {
        let data = DataIdentity {
            dataset_sha256: dealt.dataset.sha256.clone(),
            partitions_sha256: bytes_sha256(dealt.digests().as_bytes()),
        };
        let differ = |recorded: Option<&DealtLine>| recorded.and_then(|recorded| recorded.difference(&data));
        let until_here = differ(self.history.last_stretch().dealt.as_ref());
        let last = differ(self.dealt.as_ref());
        self.forced.extend(until_here);
        self.data = Some(data);
        last.map_or(Ok(()), |difference| self.unless_forced(difference))
    }

    /// Refuses clients with other numbers of examples of their own than the run began with.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the first that differs.
    pub(crate) fn check_sizes(&self, sizes: &[u64]) -> Result<()> {
        // As many as clients, whose number is the experiment's.
        let recorded = self.history.last_stretch().dealt.as_ref().map_or(&[][..], |dealt| &dealt.sizes);
        let mut both = recorded.iter().zip(sizes).enumerate();
        match both.find(|(_, (recorded, now))| recorded != now) {
            Some((client, (recorded, now))) => Err(Error::Usage(format!(
                "the run cannot be resumed, since the partition of client {client} has {}, had {recorded}",
                counted(*now, "example")
            ))),
            None => Ok(()),
        }
    }

    /// Refuses a state that is not one of a model with this layout.
    ///
    /// # Errors
    /// Returns [`Error::Output`].
    pub(crate) fn check_layout(&self, layout: &Layout) -> Result<()> {
        let Some(Checkpoint { weights, server, .. }) = &self.checkpoint else { return Ok(()) };
        let held = weights.len();
        let wanted = layout.weight_count();
        if held == wanted && server.fits(wanted) {
            return Ok(());
        }
        Err(Error::Output(format!(
            "the run cannot be resumed, since its checkpoint is of a model with {}, and the model has {wanted}",
            counted(held, "weight")
        )))
    }

    /// Returns the last whole round.
    pub(crate) fn round(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.meta.round)
    }

    /// Returns `true` where the ledger until here describes the data and the model that hold from here on.
    pub(crate) fn is_described(&self) -> bool {
        self.round() > 0 && self.forced.is_empty()
    }

    /// Cuts the ledger off at this point and says so in it; what only the lines cut off tell of goes too.
    pub(crate) fn journal<'o>(
        &self,
        directory: &RunDir,
        experiment: &Experiment,
        observer: &'o mut dyn crate::run::event::Observer,
    ) -> Result<Journal<'o>> {
        if self.cuts_rounds {
            directory.drop_results()?;
        }
        let position = self.checkpoint.as_ref().map_or(self.history.started(), |checkpoint| &checkpoint.meta.ledger);
        let forced = under_way_as(experiment, self.history.experiment());
        let ledger = Ledger::cut(directory.path(), position, self.line(&forced));
        let ledger = ledger.map_err(|error| Error::of_record(&error))?;
        // After the ledger, which decides: a resume takes a text from before for the one that the ledger has now.
        if !self.forced.is_empty() {
            directory.write(names::EXPERIMENT, forced.to_toml()?.as_bytes())?;
        }
        let known: Vec<String> = self.history.reloads.keys().map(|&round| names::model_from(round)).collect();
        let dropped = directory.drop_models_unless(|name| known.iter().any(|known| known == name))?;
        for path in &self.refused {
            fs::remove_file(path).map_err(|error| Error::in_run("remove", path, &error))?;
        }
        let mut journal = Journal::new(ledger, observer);
        journal.show(&Event::Resumed {
            experiment,
            directory: directory.path(),
            round: self.round(),
            cut_lines: self.cut_lines,
            forced: &self.forced,
        })?;
        if dropped > 0 {
            journal.emit(&Event::Warning("the model was reloaded after that round: reload it again to have it"))?;
        }
        Ok(journal)
    }

    /// Returns the line of this resume. A forced resume continues under the experiment `forced`.
    fn line<'l>(&'l self, forced: &'l Experiment) -> Line<'l> {
        let is_forced = !self.forced.is_empty();
        Line::Resumed {
            round: self.round(),
            cut_lines: self.cut_lines,
            build: Some(Build::of_this_program()),
            cpu: Cpu::of_this_machine(),
            forced: Cow::Borrowed(&self.forced),
            experiment: is_forced.then_some(Cow::Borrowed(forced)),
            program: is_forced.then_some(Cow::Borrowed(&self.program)),
            data: self.data.as_ref().filter(|_| is_forced).map(Cow::Borrowed),
        }
    }

    /// Takes note of a difference, or refuses it.
    fn unless_forced(&mut self, difference: String) -> Result<()> {
        if !self.force {
            return Err(Error::Usage(format!(
                "the run cannot be resumed, since {difference}; --force continues and notes the difference in the ledger"
            )));
        }
        if !self.forced.contains(&difference) {
            self.forced.push(difference);
        }
        Ok(())
    }
}

/// Returns the experiment of the run in `directory` if `written`, the one of its `experiment.toml`, is an earlier one.
/// A forced resume writes the ledger first, and may have been killed after that.
pub fn under_way(directory: &Path, written: &Experiment) -> Option<Experiment> {
    let history = History::read(directory).ok()?;
    let is_from_before = history.experiments.contains(written);
    is_from_before.then(|| history.experiment().clone())
}

/// Returns the `given` experiment with the section `execution` of the `recorded` one. The section of a resume holds for
/// its session alone.
fn under_way_as(given: &Experiment, recorded: &Experiment) -> Experiment {
    Experiment { execution: recorded.execution.clone(), ..given.clone() }
}

/// Returns the same experiment without the rounds beyond those of the `recorded` one. More rounds need no force, unless
/// the learning rate of a round depends on the last one.
fn not_longer(given: &Experiment, recorded: &Experiment) -> Experiment {
    if given.local.lr_schedule.needs_last_round() {
        return given.clone();
    }
    let least = |given: u64, recorded: u64| if given > recorded { recorded } else { given };
    Experiment {
        rounds: least(given.rounds, recorded.rounds),
        max_rounds: least(given.max_rounds, recorded.max_rounds),
        ..given.clone()
    }
}

/// Returns the experiment without the keys that only decide how long a run is and what it scores.
fn timed_part(experiment: &Experiment) -> Experiment {
    let Experiment { rounds, max_rounds, until, until_converged, tolerance, evaluation, execution, .. } =
        Experiment::default();
    let of_run = Experiment { rounds, max_rounds, until, until_converged, tolerance, ..experiment.clone() };
    Experiment { evaluation, execution, ..of_run }
}

/// Returns the differences of the experiment and the program from those that the ledger was last under, a sentence
/// each.
fn all_differences(recorded: &History, given: &Experiment, program: &CodeIdentity) -> Result<Vec<String>> {
    let mut all = differences(recorded.experiment(), given)?;
    all.extend(recorded.program().map(|recorded| recorded.changes(program)).unwrap_or_default());
    Ok(all)
}

/// Returns the differences of two experiments, a sentence each. The section `execution` has no influence on the result.
fn differences(recorded: &Experiment, given: &Experiment) -> Result<Vec<String>> {
    // Through the text, in which an f32 has its shortest form.
    let table = |experiment: &Experiment| -> anyhow::Result<toml::Table> { Ok(experiment.to_toml()?.parse()?) };
    let (recorded, given) = (table(recorded)?, table(given)?);
    let mut keys = Experiment::keys();
    keys.retain(|key| key.section != EXECUTION && key.find(&recorded) != key.find(&given));
    let shown = |value: Option<&toml::Value>| value.map_or("not set".into(), ToString::to_string);
    let sentence = |key: &ExperimentKey| {
        format!("{} is {}, was {}", key.path(), shown(key.find(&given)), shown(key.find(&recorded)))
    };
    Ok(keys.iter().map(sentence).collect())
}

#[cfg(test)]
mod tests;
