//! `fedpipe config`: lists the keys of an experiment, or explains one.

use std::process::ExitCode;

use fedpipe_host::Result;
use fedpipe_record::{experiment::Experiment, experiment_text::explanation, key_names::key_at};

use crate::screen::{
    output::print_result,
    text_table::{Column, lines},
};

/// Explains the key at `path`. Without a path, prints every key with its flag and its default.
pub(crate) fn explain_keys(path: Option<&str>) -> Result<ExitCode> {
    let lines = match path.and_then(key_at) {
        Some(key) => explanation(&key),
        None => all_keys(),
    };
    print_result(lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn all_keys() -> Vec<String> {
    let columns = ["key", "flag", "default"].map(Column::left);
    let row = |key: &fedpipe_record::experiment_key::ExperimentKey| {
        vec![key.path(), key.usage.to_owned(), key.default.clone().unwrap_or_default()]
    };
    lines(&columns, &Experiment::keys().iter().map(row).collect::<Vec<_>>())
}
