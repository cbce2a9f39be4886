//! A run from its first line to its results: rounds, the ledger, checkpoints, resume and verify.
//!
//! [`run`] is the whole of a run, [`resume`] the rest of one; [`rounds`] is federated learning.

pub(crate) mod aggregate;
pub(crate) mod answers;
pub(crate) mod directory;
pub(crate) mod event;
pub(crate) mod external_strategy;
pub(crate) mod identity;
pub(crate) mod ledger;
pub(crate) mod reload;
pub(crate) mod replaced;
pub(crate) mod resume;
pub(crate) mod round;
pub(crate) mod saver;
pub(crate) mod state;
pub(crate) mod verify;

use std::{sync::Arc, time::Instant};

use fedpipe_data::{DatasetInfo, Deal, Dealt, Scheme, counted, deal_test_set};
use fedpipe_record::{
    digest::{bytes_sha256, weights_sha256},
    experiment::Experiment,
    names,
    summary::{Stop, Summary},
};
use fedpipe_strategy::server::ServerState;

use crate::{
    error::{Error, Result},
    experiment::{self, Launch, processes::process_count},
    fleet::control::Control,
    process::spawn::most_descriptors,
    run::{
        directory::RunDir,
        event::{Event, Journal, Observer},
        identity::code_identity,
        resume::{Point, Resume},
        round::{Federation, Score, Trained},
        saver::Saver,
        state::Progress,
    },
};

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
    check(experiment, launch)?;
    let (dylib, out) = (launch.dylib.as_deref(), launch.out.as_deref());
    let (mut directory, ledger) = RunDir::create(experiment, dylib, out, launch.overwrite)?;
    let before = directory.replaced.take();
    let mut journal = Journal::new(ledger, observer);
    journal.tell(&Event::Started { experiment, directory: directory.path() })?;
    directory.warnings.iter().try_for_each(|warning| journal.tell(&Event::Warning(warning)))?;
    let begun = deal(experiment, launch, &mut |event| journal.show(event))
        .and_then(|dealt| Ok((begin(experiment, launch, &directory, &dealt, None, control, &mut journal)?, dealt)));
    let ((mut federation, mut progress), _dealt) = begun
        .inspect_err(|error| directory.discard_if_never_begun(error, before.as_ref()))
        .map_err(|error| named(error, &directory, launch))?;
    drop(before);
    complete(experiment, &directory, &mut federation, &mut progress, &mut journal, control, started)
}

/// A client knows the run's copy of the dylib, which is gone where the run never began; the user knows the original. An
/// error of the system is about the copy itself.
fn named(error: Error, directory: &RunDir, launch: &Launch) -> Error {
    let copy = directory.path().join(names::MODEL).display().to_string();
    match (error, &launch.dylib) {
        (Error::Model(message), Some(dylib)) if !message.contains("(os error ") => {
            Error::Model(message.replace(&copy, &dylib.display().to_string()))
        }
        (error, _) => error,
    }
}

/// Goes on with an interrupted run, from its newest whole checkpoint, under the experiment that it was started with.
/// It ends with the bits that it would have had without the interruption.
///
/// # Errors
/// As for [`run`]; [`Error::Usage`] where `experiment`, the dylib or the dataset differ from what the ledger says.
pub fn resume(
    resume: &Resume<'_>,
    experiment: &Experiment,
    launch: &Launch,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let started = Instant::now();
    check(experiment, launch)?;
    let directory = RunDir::open(resume.directory)?;
    let mut warnings = directory.warnings.clone();
    let mut point = Point::find(resume, &directory, experiment, &mut |warning| warnings.push(warning))?;
    for warning in &warnings {
        observer.observe(&Event::Warning(warning))?;
    }
    let dealt = deal(experiment, launch, &mut |event| Ok(observer.observe(event)?))?;
    point.check_data(&dealt)?;
    let mut journal = point.journal(&directory, experiment, observer)?;
    let (mut federation, mut progress) =
        begin(experiment, launch, &directory, &dealt, Some(point), control, &mut journal)?;
    complete(experiment, &directory, &mut federation, &mut progress, &mut journal, control, started)
}

/// Refuses what cannot be run, or not from here.
fn check(experiment: &Experiment, launch: &Launch) -> Result<()> {
    experiment::check(experiment)?;
    let (processes, most) = (process_count(experiment), most_descriptors());
    // Each takes several; what is asked for beyond all reason would take all memory before the first one fails.
    if u64::from(processes) > most {
        return Err(Error::Usage(format!(
            "{} are more than the {most} descriptors of this host (`ulimit -Hn`); give fewer --clients, or --processes",
            counted(processes, "client process")
        )));
    }
    let refuse =
        |why| Err(Error::Usage(format!("under --partition own every client has data of its own elsewhere: {why}")));
    match experiment.partition {
        Scheme::Own if !launch.command.elsewhere => refuse("use --over, or another --partition here"),
        Scheme::Own if process_count(experiment) < experiment.clients => refuse("leave out --processes"),
        _ => Ok(()),
    }
}

type Show<'s> = dyn FnMut(&Event<'_>) -> Result<()> + 's;

/// One partition file a client, unless each has its own.
fn deal(experiment: &Experiment, launch: &Launch, show: &mut Show<'_>) -> Result<Dealt> {
    let Experiment { data, partition, clients, seed, .. } = experiment;
    let deal = Deal { source: data.clone(), scheme: partition.clone(), clients: *clients, seed: *seed };
    let mut shown = Ok(());
    let mut tell = |step| {
        if shown.is_ok() {
            shown = show(&Event::Data(&step));
        }
    };
    let dealt = match deal.scheme {
        Scheme::Own => deal_test_set(&deal.source, &launch.cache, &mut tell)?,
        _ => fedpipe_data::deal(&deal, &launch.cache, &mut tell)?,
    };
    shown?;
    Ok(dealt)
}

/// The clients are started and the weights known: the model's initial ones, or those that a resume goes on from.
fn begin<'a>(
    experiment: &'a Experiment,
    launch: &'a Launch,
    directory: &'a RunDir,
    dealt: &Dealt,
    point: Option<Point>,
    control: &'a Control,
    journal: &mut Journal<'_>,
) -> Result<(Federation<'a>, Progress)> {
    dealt.dataset.warning().map_or(Ok(()), |warning| journal.show(&Event::Warning(&warning)))?;
    // The ledger of a run that goes on with the same data and model has these lines already.
    let tell = if point.as_ref().is_some_and(Point::is_described) { Journal::show } else { Journal::tell };
    let digests = dealt.digests();
    directory.list_partitions(&digests)?;
    let partitions_sha256 = &bytes_sha256(digests.as_bytes());
    let own = experiment.partition == Scheme::Own;
    if !own {
        let sizes: Vec<u64> = dealt.partitions.iter().map(|partition| partition.examples).collect();
        tell(journal, &Event::Dealt { dataset: &dealt.dataset, sizes: &sizes, partitions_sha256 })?;
    }
    let dylib = point.as_ref().map_or(names::MODEL.into(), Point::dylib);
    let (mut federation, weights) = Federation::start(experiment, directory, launch, dealt, &dylib, control, journal)?;
    point.as_ref().map_or(Ok(()), |point| point.check_layout(federation.layout()?))?;
    if own {
        let sizes = &federation.sizes;
        point.as_ref().map_or(Ok(()), |point| point.check_sizes(sizes))?;
        let dataset = &DatasetInfo { train_examples: sizes.iter().sum(), ..dealt.dataset.clone() };
        tell(journal, &Event::Dealt { dataset, sizes, partitions_sha256 })?;
    }
    let (program, weights_sha256) = (&code_identity(experiment, directory)?, &weights_sha256(&weights));
    tell(journal, &Event::Ready { model: federation.model()?, program, weights_sha256 })?;
    // A run may go on in another place, where something else is in force.
    federation.tell_confined(journal)?;
    if let Some(in_force) = federation.strategy_in_force() {
        journal.tell(&Event::StrategyIsolated(in_force))?;
    }
    let mut progress = Progress::new(dealt.dataset.name.clone(), weights, experiment.tolerance);
    if let Some(point) = point {
        federation.failures += point.history.failures;
        progress = progress.at(point);
    }
    Ok((federation, progress))
}

/// The rounds and the results.
fn complete(
    experiment: &Experiment,
    directory: &RunDir,
    federation: &mut Federation<'_>,
    progress: &mut Progress,
    journal: &mut Journal<'_>,
    control: &Control,
    started: Instant,
) -> Result<Summary> {
    let saver = journal.ledger.handle().and_then(|ledger| Saver::start(directory.path(), ledger));
    let mut saver = saver.map_err(|error| Error::in_run("write", directory.path(), &error))?;
    // Of a session before this one, which may end otherwise.
    directory.drop_results()?;
    let ended = rounds(experiment, federation, progress, journal, &mut saver);
    let wall = started.elapsed();
    if ended.is_ok() {
        score_initial_weights(federation, progress, journal);
    }
    control.begin_writing();
    let (stop, failure) = match ended {
        Ok(stop) => (stop, None),
        Err(Error::Stopped(signal)) => (Stop::Signal(signal), None),
        Err(error) => (Stop::Failed(error.to_string()), Some(error)),
    };
    let record = || {
        let saved = save(progress, &mut saver).and_then(|()| saver.finish().map_err(|error| Error::of_record(&error)));
        let summary = progress.summary(experiment, &federation.model()?.name, federation.failures, stop, wall);
        // The line before the files: where a result is, the ledger has the end.
        journal.record(&Event::Finished(&summary))?;
        progress.write_results(directory, federation.layout()?, &summary)?;
        saved?;
        journal.show(&Event::Finished(&summary))?;
        Ok(summary)
    };
    // What ended the run is told before what came of that, such as results for which the disk has no room either.
    match failure {
        None => record(),
        Some(failure) => {
            let _ = record();
            Err(failure)
        }
    }
}

/// Federated learning: train, aggregate, evaluate, record, until the rounds are done or nothing changes any more.
fn rounds(
    experiment: &Experiment,
    federation: &mut Federation<'_>,
    progress: &mut Progress,
    journal: &mut Journal<'_>,
    saver: &mut Saver,
) -> Result<Stop> {
    if experiment.until_converged && progress.converged() {
        return Ok(Stop::Converged);
    }
    for round in progress.next_round()..=experiment.last_round() {
        let started = Instant::now();
        federation.swap_model_if_asked(round, journal)?;
        let (trained, weights, server, score) = match train(round, federation, progress, journal) {
            // Once: the dylib from before has no other before it.
            Err(Error::Round(why)) if federation.revert_model(round, &why, journal)? => {
                train(round, federation, progress, journal)?
            }
            trained => trained?,
        };
        federation.keep_model();
        let record = progress.commit(round, weights, server, &trained, score, started);
        journal.tell(&Event::RoundEnded(record))?;
        progress.recorded_at(journal.ledger.position());
        federation.reuse(trained);
        let converged = experiment.until_converged && progress.converged();
        if round.is_multiple_of(experiment.checkpoint_every) || converged || round == experiment.last_round() {
            save(progress, saver)?;
        }
        if converged {
            return Ok(Stop::Converged);
        }
    }
    Ok(if experiment.until_converged { Stop::MaxRounds } else { Stop::Rounds })
}

/// Scores the weights that the run began with, for a warning where no round has better ones. Not before the first round,
/// which would be later by that. A run that is done loses nothing where the score cannot be had.
fn score_initial_weights(federation: &mut Federation<'_>, progress: &mut Progress, journal: &mut Journal<'_>) {
    let Some(weights) = progress.initial_weights().cloned() else { return };
    if let Ok(score) = federation.evaluate(progress.last_round(), &weights, journal) {
        progress.take_initial(score);
    }
}

/// Trains the clients, aggregates their updates and evaluates the new weights; changes nothing of the progress.
fn train(
    round: u64,
    federation: &mut Federation<'_>,
    progress: &Progress,
    journal: &mut Journal<'_>,
) -> Result<(Trained, Arc<Vec<f32>>, ServerState, Score)> {
    let trained = federation.train(round, progress.weights(), journal)?;
    let mut server = progress.server_state().clone();
    let weights = federation.aggregate(round, &mut server, progress.weights(), &trained.updates, journal)?;
    let weights = Arc::new(weights);
    let score = federation.evaluate(round, &weights, journal)?;
    Ok((trained, weights, server, score))
}

/// Has the state after the last round saved, unless it was.
fn save(progress: &mut Progress, saver: &mut Saver) -> Result<()> {
    let saved = progress.checkpoint().map_or(Ok(()), |checkpoint| saver.save(checkpoint));
    saved.map_err(not_saved)
}

fn not_saved(error: anyhow::Error) -> Error {
    Error::Output(format!("{error:#}"))
}
