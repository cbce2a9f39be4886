//! `fedpipe verify`: repeats a run and compares its bits.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, counted};
use fedpipe_host::{Control, Event, Level, Outcome, Result, Verification, VerifyRequest, verify};
use fedpipe_record::build::Build;

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
    let Verification { rounds, compared, outcome, other_builds } = verification;
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
            build_lines(&other_builds).iter().for_each(print_error);
            Ok(ExitCode::from(exit::DIFFERS))
        }
        Outcome::Stopped(signal) => {
            print_error(format_args!("not verified: {compared} of {} compared", counted(rounds, "round")));
            Ok(exit::stopped(signal))
        }
    }
}

/// Returns the lines about the builds that made a run, if this one did not make all of it.
fn build_lines(others: &[Build]) -> Vec<String> {
    if others.is_empty() {
        return Vec::new();
    }
    let made_by = others.iter().map(|build| format!("  made by:        {build}"));
    let this = format!("  this is:        {}", Build::of_this_program());
    let remedy = "  another build may compute other numbers; verify the run with the build that made it".to_owned();
    made_by.chain([this, remedy]).collect()
}
