//! Runs a run again from its own directory and compares the bits of every round.

use std::path::Path;

use fedpipe_data::Scheme;

use crate::{
    ClientCommand, Control, Error, Event, Experiment, Launch, Level, Observer, Program, Result,
    files::temporary_folder, history::History, run, run_dir::RunDir,
};

/// Where two runs part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bits part at round {round}: the ledger has weights {recorded}, this machine {now}")]
pub struct Difference {
    /// The first round whose weights differ.
    pub round: u64,
    /// SHA-256 of the weights that the ledger has.
    pub recorded: String,
    /// SHA-256 of the weights that were computed now.
    pub now: String,
}

/// Runs the run in `directory` again, with its own dylib and with the participants that its ledger names, and compares
/// the weights of every round; `isolation` instead of the run's own, if it is given. Returns how many rounds there were, or
/// where the bits part.
///
/// # Errors
/// [`Error::Output`] for a directory that holds no run or an edited one; those of [`run`].
pub fn verify(
    directory: &Path,
    isolation: Option<Level>,
    command: &ClientCommand,
    cache: &fedpipe_data::Cache,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<std::result::Result<u64, Difference>> {
    let history = History::read(directory)?;
    if history.experiment.partition == Scheme::Own {
        let why = "its training examples were the clients' own (--partition own) and are not here";
        return Err(Error::Usage(format!("the run cannot be verified, since {why}")));
    }
    let rounds = history.rounds.len() as u64;
    if rounds == 0 {
        return Err(Error::Usage(format!("{} has no whole round to verify", directory.display())));
    }
    let scratch = temporary_folder("fedpipe-verify-")?;
    let isolation = isolation.unwrap_or(history.experiment.isolation);
    let experiment = Experiment { rounds, until_converged: false, isolation, ..history.experiment.clone() };
    let changes = history.program.as_ref().map(|was| Ok::<_, Error>(was.changes(&Program::files(&experiment)?)));
    if let Some(change) = changes.transpose()?.unwrap_or_default().first() {
        return Err(Error::Usage(format!("the run cannot be verified, since {change}")));
    }
    let launch = Launch {
        command: command.clone(),
        launcher: command.clone(),
        dylib: experiment.client.is_none().then(|| directory.join(RunDir::MODEL)),
        out: Some(scratch.path().join("run")),
        cache: cache.clone(),
        replay: history.participants(),
        swaps: history.swaps(directory),
    };
    let mut difference = None;
    let mut compare = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            let recorded = &history.rounds[round.round as usize - 1].weights_sha256;
            if *recorded != round.weights_sha256 {
                let (recorded, now) = (recorded.clone(), round.weights_sha256.clone());
                difference = Some(Difference { round: round.round, recorded, now });
                anyhow::bail!("the bits part");
            }
        }
        observer.observe(event)
    };
    let ended = run(&experiment, &launch, control, &mut compare);
    match difference {
        Some(difference) => Ok(Err(difference)),
        None => ended.map(|_| Ok(rounds)),
    }
}
