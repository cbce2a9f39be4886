//! `fedpipe verify` and `fedpipe reload`: what is done to a run that exists.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use fedpipe_data::Cache;
use fedpipe_host::{Control, Event, Level, Result};

use crate::{exit, run::client_command, signals};

/// Runs the run in `directory` again and says whether the bits are the same.
pub(crate) fn verify(directory: &Path, isolation: Option<Level>) -> Result<ExitCode> {
    let control = Control::default();
    signals::obey(control.handle())?;
    let mut show = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            let _ = writeln!(io::stdout(), "round {}: the same bits ({})", round.round, &round.weights_sha256[..16]);
        }
        Ok(())
    };
    match fedpipe_host::verify(directory, isolation, &client_command(), &Cache::user()?, &control, &mut show)? {
        Ok(rounds) => {
            let _ = writeln!(io::stdout(), "verified: {rounds} rounds have the same bits");
            Ok(ExitCode::SUCCESS)
        }
        Err(difference) => {
            let _ = writeln!(io::stderr(), "error: {difference}");
            Ok(ExitCode::from(exit::BITS_PART))
        }
    }
}

/// Asks the run that is going on in `directory` to take its model's dylib anew.
pub(crate) fn reload(directory: &Path) -> Result<ExitCode> {
    fedpipe_host::request_reload(directory)?;
    let _ = writeln!(io::stdout(), "the run takes its model anew at the next round; its screen says how that went");
    Ok(ExitCode::SUCCESS)
}
