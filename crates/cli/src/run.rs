//! `fedpipe run`.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use fedpipe_client::{PROCESS_NAME, RELAY_NAME};
use fedpipe_data::Cache;
use fedpipe_host::{ClientCommand, Control, Error, Launch, Result, Resume};
use fedpipe_record::{file::write_whole, history::History, names::PICTURE, summary::Stop};
use fedpipe_report::picture;

use crate::{args::RunArgs, exit, experiment, lookup, output::print_error, own_file, show::Screen, signals};

/// How clients are started: this very binary under another name, also if the file was replaced meanwhile.
pub(crate) fn client_command() -> ClientCommand {
    ClientCommand::new(own_file::program(), PROCESS_NAME)
}

/// How clients are started that are elsewhere: a relay each, to the socket.
fn relay_command(socket: &Path) -> ClientCommand {
    let arguments = vec![socket.into()];
    ClientCommand { arguments, elsewhere: true, ..ClientCommand::new(own_file::program(), RELAY_NAME) }
}

/// Runs the experiment that `args` describe, or the rest of one.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut experiment = experiment::resolve(args)?;
    if args.over.is_some() {
        if let Some(command) = &experiment.client {
            let why = format!(
                "client {command} is a program to start here, and --over has all clients elsewhere; leave one out"
            );
            return Err(Error::Usage(why));
        }
        // Clients elsewhere have processors of their own.
        let clients = experiment.clients;
        experiment.processes.get_or_insert(clients);
        experiment.jobs.get_or_insert(clients);
    }
    let dylib = match (&experiment.client, &args.resume) {
        (Some(_), _) => None,
        // Only a reload would need it: a run has its own copy.
        (None, Some(run)) => Some(lookup::dylib(&experiment.model).unwrap_or_else(|_| run.join("model.so"))),
        (None, None) => Some(lookup::dylib(&experiment.model)?),
    };
    let launch = Launch {
        command: args.over.as_deref().map_or_else(client_command, relay_command),
        launcher: client_command(),
        dylib,
        out: args.out.clone(),
        overwrite: args.overwrite,
        cache: Cache::user()?,
        closed: Vec::new(),
        replay: BTreeMap::new(),
        swaps: BTreeMap::new(),
    };
    warn_of_slow_arithmetic();
    let control = Control::default();
    signals::obey(control.handle())?;
    let mut screen = Screen::new(args.quiet);
    let ended = match &args.resume {
        None => fedpipe_host::run(&experiment, &launch, &control, &mut screen),
        Some(directory) => {
            let resume = Resume { directory, force: args.force };
            fedpipe_host::resume(&resume, &experiment, &launch, &control, &mut screen)
        }
    };
    // A run that failed has a picture of its whole rounds, too.
    if let Some(directory) = screen.directory()
        && let Err(error) = draw(directory)
    {
        print_error(format!("warning: {PICTURE} is not drawn: {error:#}"));
    }
    Ok(match ended?.stopped {
        Stop::Signal(signal) => exit::stopped(signal),
        Stop::Rounds | Stop::Converged | Stop::MaxRounds | Stop::Failed(_) => ExitCode::SUCCESS,
    })
}

/// Draws the run in `directory` from its ledger, if the run has a result. A run that never began has no ledger.
fn draw(directory: &Path) -> anyhow::Result<()> {
    let Ok(history) = History::read(directory) else { return Ok(()) };
    let picture = picture::result(&history)?;
    picture.map_or(Ok(()), |picture| Ok(write_whole(&directory.join(PICTURE), &picture)?))
}

/// Without fused multiply-add in hardware `fedpipe-nn` computes the same bits in software.
fn warn_of_slow_arithmetic() {
    let asked = std::env::var_os("FEDPIPE_ISA").is_some_and(|isa| isa == "portable");
    #[cfg(target_arch = "x86_64")]
    let lacking = !std::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    let lacking = false;
    if lacking || (asked && cfg!(target_arch = "x86_64")) {
        print_error("warning: multiply-add runs in software: the same bits, some fifty times slower");
    }
}
