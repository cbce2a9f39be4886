//! `fedpipe run`: runs an experiment, or the rest of one, and draws its result.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use fedpipe_data::Cache;
use fedpipe_host::{Control, Error, Launch, Result, Resume, resume, run_from_start};
use fedpipe_record::{
    experiment::Experiment,
    summary::{Stop, Summary},
};

use crate::{
    args::run_args::RunArgs,
    commands::draw_run::{Drawings, draw_run},
    exit,
    inputs::{
        client_commands::{client_command, relay_command},
        dylibs::find_dylib,
        resolve::resolve,
    },
    screen::{output::print_error, run_screen::RunScreen},
    signals::stop_on_signal,
};

/// Runs the experiment that `args` describe. With `--resume`, runs the rounds that are left.
pub(crate) fn run_experiment(args: &RunArgs) -> Result<ExitCode> {
    let mut experiment = resolve(args)?;
    if args.over.is_some() {
        adapt_to_clients_elsewhere(&mut experiment)?;
    }
    let launch = launch(args, &experiment)?;
    let mut screen = RunScreen::new(args.quiet);
    let ended = start_or_resume(args, &experiment, &launch, &mut screen);
    // A run that failed has a picture of its completed rounds, too.
    if let Some(directory) = screen.directory() {
        let extra = Drawings { trace: args.trace, tensorboard: args.tensorboard };
        draw_run(directory, &extra).iter().for_each(|why| print_error(format_args!("warning: {why}")));
    }
    Ok(match ended?.stopped {
        Stop::Signal(signal) => exit::stopped(signal),
        Stop::Rounds | Stop::Converged | Stop::Reached | Stop::MaxRounds | Stop::Failed(_) => ExitCode::SUCCESS,
    })
}

/// Gives each client elsewhere a process and a job of its own, since it has a processor of its own.
fn adapt_to_clients_elsewhere(experiment: &mut Experiment) -> Result<()> {
    if let Some(command) = &experiment.client {
        return Err(Error::Usage(format!(
            "client {command} is a program to start here, and --over has all clients elsewhere; leave one out"
        )));
    }
    experiment.execution.processes.get_or_insert(experiment.clients.count);
    experiment.execution.jobs.get_or_insert(experiment.clients.count);
    Ok(())
}

fn launch(args: &RunArgs, experiment: &Experiment) -> Result<Launch> {
    Ok(Launch {
        command: args.over.as_deref().map_or_else(client_command, relay_command),
        launcher: client_command(),
        dylib: dylib(args, experiment)?,
        out: args.out.clone(),
        overwrite: args.overwrite,
        cache: Cache::user()?,
        inputs_folder: None,
        closed: Vec::new(),
        replay: BTreeMap::new(),
        dropped: Default::default(),
        swaps: BTreeMap::new(),
        ends_after: None,
    })
}

/// Returns the dylib of the experiment's model; `None` if its clients are a program.
fn dylib(args: &RunArgs, experiment: &Experiment) -> Result<Option<PathBuf>> {
    match (&experiment.client, &args.resume) {
        (Some(_), _) => Ok(None),
        // A resumed run has a copy of its own. Only a reload needs the original.
        (None, Some(run)) => Ok(Some(find_dylib(&experiment.model).unwrap_or_else(|_| run.join("model.so")))),
        (None, None) => find_dylib(&experiment.model).map(Some),
    }
}

fn start_or_resume(
    args: &RunArgs,
    experiment: &Experiment,
    launch: &Launch,
    screen: &mut RunScreen,
) -> Result<Summary> {
    let control = Control::default();
    stop_on_signal(control.handle())?;
    match &args.resume {
        None => run_from_start(experiment, launch, &control, screen),
        Some(directory) => resume(&Resume { directory, force: args.force }, experiment, launch, &control, screen),
    }
}
