//! `fedpipe init`: writes a commented `experiment.toml`.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use fedpipe_host::{Error, Result};
use fedpipe_record::experiment_text::commented;

use crate::screen::output::print_result;

/// Writes the default experiment into a new file, with the explanation of each key.
pub(crate) fn write_experiment(path: &Path) -> Result<ExitCode> {
    let shown = path.display();
    let text = commented()?;
    let written = File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AlreadyExists => "; give another file, or remove it",
            _ => "; give another file",
        };
        Error::Output(format!("cannot write {shown}: {error}{remedy}"))
    })?;
    print_result(format_args!("the experiment is in {shown}; `fedpipe run --config {shown}` runs it"))?;
    Ok(ExitCode::SUCCESS)
}
