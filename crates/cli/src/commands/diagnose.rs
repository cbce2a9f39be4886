//! `fedpipe doctor`: prints the findings of the checks.

use std::process::ExitCode;

use fedpipe_host::Result;

use crate::{
    doctor::{CHECKS, State},
    screen::output::print_result,
};

/// Prints a line for each finding, with the remedy below it. The exit code is 1 if something forbids a run.
pub(crate) fn diagnose() -> Result<ExitCode> {
    let mut worst = State::Fine;
    for (subject, find) in CHECKS {
        for finding in find() {
            worst = worst.max(finding.state);
            let mut text = format!("{:<8} {subject:<11} {}", finding.state.to_string(), finding.fact);
            if !finding.remedy.is_empty() {
                text += &format!("\n{:21}{}", "", finding.remedy);
            }
            if !print_result(text)? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::from(u8::from(worst == State::Broken)))
}
