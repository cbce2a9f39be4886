//! What this machine decides of an experiment: how clients are launched, their limits, the commands of programs.

pub(crate) mod closed;
pub(crate) mod command;
pub(crate) mod limits;
mod places;
pub(crate) mod processes;
mod shim;
mod wrapper;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fedpipe_record::experiment::Experiment;

use crate::{error::Result, experiment::command::Foreign, process::spawn::ClientCommand};

/// Where the dylib of a model is, and how clients are started; these decide no result and are in no experiment.
#[derive(Debug, Clone)]
pub struct Launch {
    /// How to start a client that loads a dylib.
    pub command: ClientCommand,
    /// How to start fedpipe's own client on this machine, which launches a program of the user's.
    pub launcher: ClientCommand,
    /// The model's dylib; none where the experiment's client is a program of the user's.
    pub dylib: Option<PathBuf>,
    /// The run directory; `runs/MODEL-N` where it is not given.
    pub out: Option<PathBuf>,
    /// `true` if a run that `out` holds gives way.
    pub overwrite: bool,
    /// Where datasets and partitions are kept.
    pub cache: fedpipe_data::Cache,
    /// Further paths that no program of the user's may read: the run that this one repeats.
    pub closed: Vec<PathBuf>,
    /// Who takes part in the rounds of a run that repeats another, by round; empty for a run of its own.
    pub replay: BTreeMap<u64, Vec<u32>>,
    /// Dylibs that such a run takes later, by the round from which on it uses them.
    pub swaps: BTreeMap<u64, PathBuf>,
}

/// Refuses an experiment that cannot be run, whatever the data.
///
/// # Errors
/// Returns [`Error::Usage`](crate::error::Error::Usage) with the value, the reason and the remedy.
pub(crate) fn check(experiment: &Experiment) -> Result<()> {
    client_program(experiment)?;
    strategy_program(experiment)?;
    Ok(experiment.check()?)
}

/// Returns the client that is a program of the user's, if it is one.
pub(crate) fn client_program(experiment: &Experiment) -> Result<Option<Foreign>> {
    experiment.client.as_deref().map(|command| Foreign::parse("--client", command)).transpose()
}

/// Returns the strategy that is a program of the user's, if it is one.
pub(crate) fn strategy_program(experiment: &Experiment) -> Result<Option<Foreign>> {
    let command = experiment.strategy_program.as_deref();
    command.map(|command| Foreign::parse("--strategy-program", command)).transpose()
}

/// Returns the name of the run, as a folder.
pub(crate) fn run_name(experiment: &Experiment) -> Result<String> {
    if let Some(foreign) = client_program(experiment)? {
        return Ok(foreign.name());
    }
    let stem = Path::new(&experiment.model).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(stem.strip_prefix("lib").unwrap_or(&stem).to_owned())
}
