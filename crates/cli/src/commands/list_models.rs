//! `fedpipe models`: describes the models that are found, or a client that is a program.

use std::{fmt::Display, process::ExitCode};

use fedpipe_data::Cache;
use fedpipe_host::{Ready, Result, describe_program};

use crate::{
    inputs::{
        client_commands::client_command,
        dylibs::{all_dylibs, any_isolation, describe_dylib, is_fixture},
    },
    screen::output::print_result,
};

/// Prints the models that are found, without fixtures.
pub(crate) fn list_models() -> Result<ExitCode> {
    let mut any = false;
    for path in all_dylibs() {
        // Proc macros and other dylibs that are no models lie in the same folders.
        let Ok(model) = describe_dylib(&path) else { continue };
        if is_fixture(&model) {
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

fn description(model: &Ready, place: &dyn Display) -> String {
    let mut text = format!("{} {}  {}\n  {place}", model.name, model.version, model.summary);
    for option in &model.options {
        let default = if option.default.is_empty() { "empty" } else { &option.default };
        text += &format!("\n  --model-option {}=…  {} [default: {default}]", option.key, option.help);
    }
    text
}
