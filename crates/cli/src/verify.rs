//! `fedpipe verify` and `fedpipe reload`: what is done to a run that exists.

use std::{path::Path, process::ExitCode};

use fedpipe_data::Cache;
use fedpipe_host::{Control, Event, Level, Result};

use crate::{
    exit,
    output::{print_error, print_progress, print_result},
    run::client_command,
    signals,
};

/// Runs the run in `directory` again and says whether the bits are the same.
pub(crate) fn verify(directory: &Path, isolation: Option<Level>) -> Result<ExitCode> {
    let control = Control::default();
    signals::obey(control.handle())?;
    let mut show = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            print_progress(format_args!("round {}: the same bits ({})", round.round, &round.weights_sha256[..16]));
        }
        Ok(())
    };
    match fedpipe_host::verify(directory, isolation, &client_command(), &Cache::user()?, &control, &mut show)? {
        Ok(rounds) => {
            print_result(format_args!("verified: {rounds} rounds have the same bits"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(difference) => {
            print_error(format_args!("error: {difference}"));
            Ok(ExitCode::from(exit::BITS_PART))
        }
    }
}

/// Asks the run that is going on in `directory` to take its model's dylib anew.
pub(crate) fn reload(directory: &Path) -> Result<ExitCode> {
    fedpipe_host::request_reload(directory)?;
    print_result("the run takes its model anew at the next round; its screen says how that went")?;
    Ok(ExitCode::SUCCESS)
}
