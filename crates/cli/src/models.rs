//! `fedpipe models`.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use fedpipe_host::{Ready, Result, describe, describe_foreign};

use crate::{lookup, run::client_command};

/// Lists the models that are found; what is no model is passed over.
pub(crate) fn list() -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut any = false;
    for path in lookup::all() {
        // Proc macros and other dylibs lie in the same folders.
        let Ok(model) = describe(&client_command(), &path) else { continue };
        any = true;
        let _ = out.write_all(told(&model, &path.display()).as_bytes());
    }
    if !any {
        let _ = writeln!(out, "no models: build them, or name their folder in FEDPIPE_MODELS");
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a client of the user's says of itself.
pub(crate) fn foreign(command: &str) -> Result<ExitCode> {
    let _ = io::stdout().write_all(told(&describe_foreign(&client_command(), command)?, &command).as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn told(model: &Ready, place: &dyn Display) -> String {
    let mut text = format!("{} {}  {}\n  {place}\n", model.name, model.version, model.summary);
    for option in &model.options {
        let default = if option.default.is_empty() { "empty" } else { &option.default };
        text += &format!("  --model-option {}=…  {} [default: {default}]\n", option.key, option.help);
    }
    text
}
