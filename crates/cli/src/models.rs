//! `fedpipe models`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use fedpipe_host::{Result, describe};

use crate::{lookup, run::client_command};

/// Lists the models that are found; what is no model is passed over.
pub(crate) fn list() -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut any = false;
    for path in lookup::all() {
        // Proc macros and other dylibs lie in the same folders.
        let Ok(model) = describe(&client_command(), &path) else { continue };
        any = true;
        let mut text = format!("{} {}  {}\n  {}\n", model.name, model.version, model.summary, path.display());
        for option in &model.options {
            let default = if option.default.is_empty() { "empty" } else { &option.default };
            text += &format!("  --model-option {}=…  {} [default: {default}]\n", option.key, option.help);
        }
        let _ = out.write_all(text.as_bytes());
    }
    if !any {
        let _ = writeln!(out, "no models: build them, or name their folder in FEDPIPE_MODELS");
    }
    Ok(ExitCode::SUCCESS)
}
