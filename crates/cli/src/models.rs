//! `fedpipe models`.

use std::{fmt::Display, process::ExitCode};

use fedpipe_data::Cache;
use fedpipe_host::{Isolation, Level, Ready, Result, describe, describe_foreign, isolation};

use crate::{lookup, output::print_result, run::client_command};

/// The first word in the summary of a model that only tests or benches use; cargo builds it beside the others.
const FIXTURE: &str = "fixture: ";

/// Lists the models that are found; what is no model, or is a fixture, is passed over.
pub(crate) fn list() -> Result<ExitCode> {
    let mut any = false;
    for path in lookup::all() {
        // Proc macros and other dylibs lie in the same folders.
        let Ok(model) = describe(&client_command(), &path, &auto()) else { continue };
        if model.summary.starts_with(FIXTURE) {
            continue;
        }
        any = true;
        if !print_result(told(&model, &path.display()))? {
            break;
        }
    }
    if !any {
        print_result("no models: build them, or name their folder in FEDPIPE_MODELS")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a client of the user's says of itself.
pub(crate) fn foreign(command: &str) -> Result<ExitCode> {
    let model = describe_foreign(&client_command(), command, &Cache::user()?, &auto())?;
    print_result(told(&model, &command))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the isolation of a model that is only described: all that this kernel offers. There are no data to lose here, and a
/// list without a model that runs would be of no use.
fn auto() -> Isolation {
    isolation(Level::Auto, None, None, 1)
}

fn told(model: &Ready, place: &dyn Display) -> String {
    let mut text = format!("{} {}  {}\n  {place}", model.name, model.version, model.summary);
    for option in &model.options {
        let default = if option.default.is_empty() { "empty" } else { &option.default };
        text += &format!("\n  --model-option {}=…  {} [default: {default}]", option.key, option.help);
    }
    text
}
