//! `fedpipe verify` and `fedpipe reload`: what is done to a run that exists.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use fedpipe_data::Cache;
use fedpipe_host::{Control, Event, Level, Outcome, Result, Verification};

use crate::{exit, run::client_command, signals};

/// Runs the run in `directory` again and compares.
pub(crate) fn verify(directory: &Path, isolation: Option<Level>) -> Result<ExitCode> {
    let control = Control::default();
    signals::obey(control.handle()).map_err(anyhow::Error::from)?;
    let mut show = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            let _ = writeln!(io::stdout(), "round {}: the same bits ({})", round.round, &round.weights_sha256[..16]);
        }
        Ok(())
    };
    let verified = fedpipe_host::verify(directory, isolation, &client_command(), &Cache::user()?, &control, &mut show)?;
    let Verification { rounds, compared, outcome } = verified;
    match outcome {
        Outcome::Same(not_vouched_for) => {
            for phrase in not_vouched_for {
                let _ = writeln!(io::stdout(), "not vouched for: {phrase}");
            }
            let _ = writeln!(io::stdout(), "verified: {rounds} rounds have the same bits");
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Differs(difference) => {
            let _ = writeln!(io::stderr(), "error: not verified: {difference}");
            Ok(ExitCode::from(exit::DIFFERS))
        }
        Outcome::Stopped(signal) => {
            let _ = writeln!(io::stderr(), "not verified: {compared} of {rounds} rounds compared");
            Ok(exit::stopped(signal))
        }
    }
}

/// Asks the run that is going on in `directory` to take its model's dylib anew.
pub(crate) fn reload(directory: &Path) -> Result<ExitCode> {
    fedpipe_host::request_reload(directory)?;
    let _ = writeln!(io::stdout(), "the run takes its model anew at the next round; its screen says how that went");
    Ok(ExitCode::SUCCESS)
}
