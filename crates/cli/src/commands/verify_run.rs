//! `fedpipe verify`: repeats a run, or each run of a sweep, and compares its bits.

use std::{path::Path, process::ExitCode};

use fedpipe_data::{Cache, counted};
use fedpipe_host::{Control, Error, Event, Level, Outcome, Result, Verification, VerifyRequest, verify};
use fedpipe_record::{
    build::Build,
    sweep::{SWEEP, Sweep},
};

use crate::{
    exit,
    inputs::client_commands::client_command,
    screen::output::{print_error, print_progress, print_result},
    signals::stop_on_signal,
};

/// Repeats the run in `directory` and compares every round. In the folder of a sweep, repeats each of its runs.
pub(crate) fn verify_run(directory: &Path, isolation: Option<Level>) -> Result<ExitCode> {
    let control = Control::default();
    stop_on_signal(control.handle())?;
    if !directory.join(SWEEP).is_file() {
        return report(&repeat(directory, isolation, &control)?, "");
    }
    let sweep = Sweep::read(directory)?;
    let (mut differing, mut unverified) = (0, 0);
    for run in &sweep.runs {
        let name = format!("run {}: ", run.name);
        match repeat(&directory.join(&run.name), isolation, &control) {
            Err(error @ Error::Stopped(_)) => return Err(error),
            Err(error) => {
                print_error(format_args!("error: {name}{error}"));
                unverified += 1;
            }
            Ok(verification) => {
                let code = report(&verification, &name)?;
                match verification.outcome {
                    Outcome::Stopped(_) => return Ok(code),
                    Outcome::Differs(_) => differing += 1,
                    Outcome::Same(_) => {}
                }
            }
        }
    }
    let runs = counted(sweep.runs.len(), "run");
    if differing + unverified == 0 {
        print_result(format_args!("verified: {runs} of the sweep"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print_error(format_args!(
        "error: of {runs} of the sweep: {differing} with a difference, {unverified} that could not be verified"
    ));
    Ok(ExitCode::from(if differing > 0 { exit::DIFFERS } else { exit::RUN_FAILED }))
}

/// Runs the run in `directory` again.
fn repeat(directory: &Path, isolation: Option<Level>, control: &Control) -> Result<Verification> {
    let mut show = |event: &Event<'_>| {
        if let Event::RoundEnded(round) = event {
            print_progress(format_args!("round {}: the same bits ({})", round.round, &round.weights_sha256[..16]));
        }
        Ok(())
    };
    let request = VerifyRequest { directory, isolation, command: &client_command(), cache: &Cache::user()? };
    verify(&request, control, &mut show)
}

/// Says the outcome of the run, whose `name` the sentences begin with.
fn report(verification: &Verification, name: &str) -> Result<ExitCode> {
    let Verification { rounds, compared, outcome, other_builds } = verification;
    match outcome {
        Outcome::Same(not_vouched_for) => {
            for phrase in not_vouched_for {
                print_progress(format_args!("{name}not vouched for: {phrase}"));
            }
            let have = if *rounds == 1 { "has" } else { "have" };
            print_result(format_args!("{name}verified: {} {have} the same bits", counted(*rounds, "round")))?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Differs(difference) => {
            print_error(format_args!("error: {name}not verified: {difference}"));
            build_lines(other_builds).iter().for_each(print_error);
            Ok(ExitCode::from(exit::DIFFERS))
        }
        Outcome::Stopped(signal) => {
            print_error(format_args!("{name}not verified: {compared} of {} compared", counted(*rounds, "round")));
            Ok(exit::stopped(*signal))
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
