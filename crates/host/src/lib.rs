//! The host: runs an experiment. It spawns and supervises clients, runs rounds, aggregates, and keeps the ledger.
//!
//! [`run`] is the whole of a run. The host never loads a model and never reads a training row: `fedpipe_data` deals the
//! rows out before any client exists.

mod cause;
mod control;
mod convergence;
mod error;
mod event;
mod experiment;
mod federation;
mod files;
mod fleet;
mod ledger;
mod link;
mod log;
mod models;
mod optimiser;
mod picture;
mod progress;
mod run_dir;
mod sampling;
mod spawn;
mod strategy;
mod summary;
mod worker;

use std::{sync::Arc, time::Instant};

use fedpipe_data::{Deal, Dealt};

pub use cause::Cause;
pub use control::{Control, Stopper};
pub use convergence::{Change, Convergence, PATIENCE};
pub use error::{Error, Result};
pub use event::{Event, Lost, Observer, Round, Then};
pub use experiment::{Experiment, Launch, OnFailure};
pub use models::describe;
pub use optimiser::LocalOptimiser;
pub use sampling::sample;
pub use spawn::ClientCommand;
pub use strategy::{Accepted, ServerOptimiser, ServerState, Strategy, weighted_mean};
pub use summary::{Stop, Summary, safetensors, weights_sha256};

use event::Observers;
use federation::Federation;
use ledger::Ledger;
use progress::Progress;
use run_dir::RunDir;

/// Runs `experiment` and leaves a run directory; `observer` hears of everything, after the ledger.
///
/// A run that is stopped through `control` ends well, with what its last whole round left.
///
/// # Errors
/// [`Error`]. Where a round failed, the run directory holds what the last whole round left.
pub fn run(
    experiment: &Experiment,
    launch: &Launch,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let started = Instant::now();
    experiment.check()?;
    let directory = RunDir::create(experiment, &launch.dylib, launch.out.as_deref())?;
    let ledger = Ledger::create(directory.path());
    let mut ledger = ledger.map_err(|error| Error::output("write", directory.path(), &error))?;
    let mut observers = Observers(vec![&mut ledger, observer]);
    observers.tell(&Event::Started { experiment, directory: directory.path() })?;

    let begun = begin(experiment, launch, &directory, control, &mut observers);
    let (mut federation, mut progress, _dealt) = begun.inspect_err(|error| directory.discard_if_never_begun(error))?;
    let ended = rounds(experiment, &mut federation, &mut progress, &mut observers);
    let (stop, failure) = match ended {
        Ok(stop) => (stop, None),
        Err(Error::Stopped(signal)) => (Stop::Signal(signal), None),
        Err(error) => (Stop::Failed(error.to_string()), Some(error)),
    };
    let summary = progress.finish(experiment, &federation, &directory, stop, started)?;
    observers.tell(&Event::Finished(&summary))?;
    failure.map_or(Ok(summary), Err)
}

/// The data are dealt, the clients started, the initial weights taken.
fn begin<'a>(
    experiment: &'a Experiment,
    launch: &Launch,
    directory: &RunDir,
    control: &'a Control,
    observers: &mut Observers<'_>,
) -> Result<(Federation<'a>, Progress, Dealt)> {
    let Experiment { data, partition, clients, seed, .. } = experiment;
    let deal = Deal { source: data.clone(), scheme: partition.clone(), clients: *clients, seed: *seed };
    let mut told = Ok(());
    let dealt = fedpipe_data::deal(&deal, &launch.cache, &mut |step| {
        if told.is_ok() {
            told = observers.tell(&Event::Data(&step));
        }
    })?;
    told?;
    let sizes: Vec<u64> = dealt.partitions.iter().map(|partition| partition.examples).collect();
    observers.tell(&Event::Dealt { dataset: &dealt.dataset, sizes: &sizes })?;
    let (federation, weights) = Federation::start(experiment, directory, launch, &dealt, control, observers)?;
    observers.tell(&Event::Ready {
        model: federation.model()?,
        dylib_sha256: &directory.model_sha256()?,
        weights_sha256: &weights_sha256(&weights),
    })?;
    let progress = Progress::new(dealt.dataset.name.clone(), weights, experiment.tolerance);
    Ok((federation, progress, dealt))
}

/// Federated learning: train, aggregate, evaluate, record, until the rounds are done or nothing changes any more.
fn rounds(
    experiment: &Experiment,
    federation: &mut Federation<'_>,
    progress: &mut Progress,
    observers: &mut Observers<'_>,
) -> Result<Stop> {
    for round in progress.next_round()..=experiment.last_round() {
        let started = Instant::now();
        let trained = federation.train(round, progress.weights(), observers)?;
        let mut server = progress.server_state().clone();
        let layout = federation.layout()?;
        let weights = experiment.strategy.apply(&mut server, progress.weights(), &trained.updates, layout);
        let weights = Arc::new(weights);
        let score = federation.evaluate(round, &weights, observers)?;
        let record = progress.commit(round, weights, server, &trained, score, started);
        observers.tell(&Event::RoundEnded(record))?;
        if experiment.until_converged && progress.converged() {
            return Ok(Stop::Converged);
        }
    }
    Ok(if experiment.until_converged { Stop::MaxRounds } else { Stop::Rounds })
}
