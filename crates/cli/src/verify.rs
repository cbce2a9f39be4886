//! `fedpipe verify` and `fedpipe reload`: what is done to a run that exists.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, counted};
use fedpipe_host::{Control, Event, Level, Outcome, Result, Verification, VerifyRequest};

use crate::{
    exit,
    output::{print_error, print_progress, print_result},
    run::client_command,
    signals,
};

/// Runs the run in `directory` again and compares.
pub(crate) fn verify(directory: &Path, isolation: Option<Level>) -> Result<ExitCode> {
    let control = Control::default();
    signals::obey(control.handle())?;
    let mut show = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            print_progress(format_args!("round {}: the same bits ({})", round.round, &round.weights_sha256[..16]));
        }
        Ok(())
    };
    let request = VerifyRequest { directory, isolation, command: &client_command(), cache: &Cache::user()? };
    let verified = fedpipe_host::verify(&request, &control, &mut show)?;
    let Verification { rounds, compared, outcome } = verified;
    match outcome {
        Outcome::Same(not_vouched_for) => {
            for phrase in not_vouched_for {
                print_progress(format_args!("not vouched for: {phrase}"));
            }
            let have = if rounds == 1 { "has" } else { "have" };
            print_result(format_args!("verified: {} {have} the same bits", counted(rounds, "round")))?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Differs(difference) => {
            print_error(format_args!("error: not verified: {difference}"));
            Ok(ExitCode::from(exit::DIFFERS))
        }
        Outcome::Stopped(signal) => {
            print_error(format_args!("not verified: {compared} of {} compared", counted(rounds, "round")));
            Ok(exit::stopped(signal))
        }
    }
}

/// Asks the run that is going on in `directory` to take its model's dylib anew.
pub(crate) fn reload(directory: &Path) -> Result<ExitCode> {
    fedpipe_host::request_reload(directory)?;
    print_result(
        "asked: the run takes its model anew at the next round if the layout is the same; its screen and ledger say how that went",
    )?;
    Ok(ExitCode::SUCCESS)
}
