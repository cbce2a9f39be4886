//! `fedpipe verify`: repeats a run and compares its bits.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, counted};
use fedpipe_host::{Control, Event, Level, Outcome, Result, Verification, VerifyRequest, verify};

use crate::{
    exit,
    inputs::client_commands::client_command,
    screen::output::{print_error, print_progress, print_result},
    signals::stop_on_signal,
};

/// Repeats the run in `directory` and compares every round.
pub(crate) fn verify_run(directory: &Path, isolation: Option<Level>) -> Result<ExitCode> {
    let control = Control::default();
    stop_on_signal(control.handle())?;
    let mut show = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            print_progress(format_args!("round {}: the same bits ({})", round.round, &round.weights_sha256[..16]));
        }
        Ok(())
    };
    let request = VerifyRequest { directory, isolation, command: &client_command(), cache: &Cache::user()? };
    report(verify(&request, &control, &mut show)?)
}

fn report(verification: Verification) -> Result<ExitCode> {
    let Verification { rounds, compared, outcome } = verification;
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
