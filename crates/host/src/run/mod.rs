//! A run from its first line to its results: rounds, the ledger, checkpoints, resume and verify.
//!
//! [`run_from_start`] does a whole run, and [`resume`] does the rest of one. [`rounds`] is the loop of federated
//! learning; `round.rs` does one round, `training.rs` its training, and `process/conversation.rs` talks to one client.

mod active;
pub(crate) mod aggregate;
pub(crate) mod answers;
pub(crate) mod class_scoring;
mod client_scoring;
mod client_store;
mod clients;
pub(crate) mod code_identity;
pub(crate) mod directory;
pub(crate) mod evaluation_answers;
pub(crate) mod event;
pub(crate) mod external_strategy;
mod fine_tuning;
mod finish;
pub(crate) mod ledger;
mod lone_scoring;
mod loss_sampling;
mod personal;
mod real_target;
pub(crate) mod reload;
pub(crate) mod replaced;
pub(crate) mod resume;
pub(crate) mod round;
pub(crate) mod saver;
mod schedule;
#[cfg(test)]
mod scripted_run;
pub(crate) mod setup;
mod start;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod training;
pub(crate) mod verify;

use std::time::Instant;

use fedpipe_record::{
    experiment::Experiment,
    summary::{Stop, Summary},
};

use crate::{
    disk::timeline_log::Timeline,
    error::Result,
    experiment::launch::Launch,
    fleet::control::Control,
    run::{
        active::{ActiveRun, RunContext},
        directory::RunDir,
        event::{Journal, Observer},
        resume::Resume,
        saver::Saver,
    },
};

/// Federated learning: trains, aggregates, evaluates and records, until the rounds are done, the run has converged, or
/// its target is reached.
fn rounds(run: &mut ActiveRun<'_>, saver: &mut Saver) -> Result<Stop> {
    let experiment = run.context.experiment;
    run.score_initial_weights()?;
    if let Some(stop) = run.early_end() {
        return Ok(stop);
    }
    let last = run.last_round();
    for round in run.state.next_round()..=last {
        let started = Instant::now();
        run.reload_if_asked(round)?;
        let result = run.round(round)?;
        run.commit(round, result, started)?;
        let end = run.early_end();
        let is_last = end.is_some() || round == last;
        if is_last || round.is_multiple_of(experiment.execution.checkpoint_every) {
            run.save(saver)?;
        }
        if let Some(stop) = end {
            return Ok(stop);
        }
    }
    Ok(if experiment.is_open_ended() { Stop::MaxRounds } else { Stop::Rounds })
}

/// Runs `experiment` and leaves a run directory. The `observer` receives each event after the ledger.
///
/// A run that is stopped through `control` ends well, with the results of its last whole round.
///
/// # Errors
/// Returns an [`Error`](crate::error::Error). If a round failed, the run directory holds the results of the last whole
/// round.
pub fn run_from_start(
    experiment: &Experiment,
    launch: &Launch,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let started = Instant::now();
    control.set_ends_itself(false);
    start::check(experiment, launch)?;
    let (mut directory, ledger) =
        RunDir::create(experiment, launch.dylib.as_deref(), launch.out.as_deref(), launch.overwrite)?;
    let replaced = directory.replaced.take();
    let timeline = Timeline::open(directory.path());
    let context = RunContext { experiment, launch, directory: &directory, control, timeline: &timeline };
    let run = start::new_run(context, Journal::new(ledger, observer))
        .inspect_err(|error| directory.discard_if_never_begun(error, replaced.as_ref()))
        .map_err(|error| start::name_original_dylib(error, &context))?;
    drop(replaced);
    complete(run, started)
}

/// Goes on with an interrupted run from its newest whole checkpoint, under the experiment that the run was started
/// with. The run ends with the same bits as without the interruption.
///
/// # Errors
/// Returns the errors of [`run_from_start`]. Returns [`Error::Usage`](crate::error::Error::Usage) if `experiment`, the
/// dylib or the dataset differs from the ledger.
pub fn resume(
    resume: &Resume<'_>,
    experiment: &Experiment,
    launch: &Launch,
    control: &Control,
    observer: &mut dyn Observer,
) -> Result<Summary> {
    let started = Instant::now();
    control.set_ends_itself(false);
    start::check(experiment, launch)?;
    let directory = RunDir::open(resume.directory)?;
    let timeline = Timeline::open(directory.path());
    let context = RunContext { experiment, launch, directory: &directory, control, timeline: &timeline };
    let run = start::resumed_run(context, resume, observer)?;
    complete(run, started)
}

/// Does the rounds of a run that has begun, and leaves its results.
fn complete(mut run: ActiveRun<'_>, started: Instant) -> Result<Summary> {
    run.context.control.set_ends_itself(true);
    let mut saver = run.start_saver()?;
    // A resumed run may hold results of an earlier session, which may end in another way.
    run.context.directory.drop_results()?;
    let ended = rounds(&mut run, &mut saver).and_then(|stop| run.score_by_class().map(|()| stop));
    run.finish(saver, ended, started.elapsed())
}
