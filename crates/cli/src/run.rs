//! `fedpipe run`.

use std::process::ExitCode;

use fedpipe_client::PROCESS_NAME;
use fedpipe_data::Cache;
use fedpipe_host::{ClientCommand, Control, Launch, Result, Stop, run as run_experiment};

use crate::{args::RunArgs, exit, experiment, lookup, show::Screen, signals};

/// How clients are started: this very binary under another name, also if the file was replaced meanwhile.
pub(crate) fn client_command() -> ClientCommand {
    ClientCommand { program: "/proc/self/exe".into(), name: PROCESS_NAME.into() }
}

/// Runs the experiment that `args` describe.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let experiment = experiment::resolve(args)?;
    let launch = Launch {
        command: client_command(),
        dylib: lookup::dylib(&experiment.model)?,
        out: args.out.clone(),
        cache: Cache::user()?,
    };
    let control = Control::default();
    signals::stop_on_signal(control.stopper()).map_err(anyhow::Error::from)?;
    let mut screen = Screen::new(args.quiet);
    let summary = run_experiment(&experiment, &launch, &control, &mut screen)?;
    Ok(match summary.stopped {
        Stop::Signal(signal) => exit::stopped(signal),
        Stop::Rounds | Stop::Converged | Stop::MaxRounds | Stop::Failed(_) => ExitCode::SUCCESS,
    })
}
