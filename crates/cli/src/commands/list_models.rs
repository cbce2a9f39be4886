//! `fedpipe models`: describes the models that are found, or a client that is a program.

use std::{fmt::Display, process::ExitCode};

use fedpipe_data::Cache;
use fedpipe_host::{Isolation, Level, Ready, Result, describe, describe_program, isolation};

use crate::{
    inputs::{client_commands::client_command, dylibs::all_dylibs},
    screen::output::print_result,
};

/// The start of the summary of a model for tests or benches only. Cargo builds such a model beside the others.
const FIXTURE: &str = "fixture: ";

/// Prints the models that are found, without fixtures.
pub(crate) fn list_models() -> Result<ExitCode> {
    let mut any = false;
    for path in all_dylibs() {
        // Proc macros and other dylibs that are no models lie in the same folders.
        let Ok(model) = describe(&client_command(), &path, &any_isolation()) else { continue };
        if model.summary.starts_with(FIXTURE) {
            continue;
        }
        any = true;
        if !print_result(description(&model, &path.display()))? {
            break;
        }
    }
    if !any {
        print_result("no models: build them, or name their folder in FEDPIPE_MODELS")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the description that a client program gives of itself.
pub(crate) fn show_program(command: &str) -> Result<ExitCode> {
    let model = describe_program(&client_command(), command, &Cache::user()?, &any_isolation())?;
    print_result(description(&model, &command))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the isolation of a model that is only described: as much as this kernel offers. Such a model has no data
/// that it could reveal, and the list has all models that can run here.
fn any_isolation() -> Isolation {
    isolation(Level::Auto, None, None, 1)
}

fn description(model: &Ready, place: &dyn Display) -> String {
    let mut text = format!("{} {}  {}\n  {place}", model.name, model.version, model.summary);
    for option in &model.options {
        let default = if option.default.is_empty() { "empty" } else { &option.default };
        text += &format!("\n  --model-option {}=…  {} [default: {default}]", option.key, option.help);
    }
    text
}
