//! `fedpipe completions` and `fedpipe man`: the files that clap generates from the command line.

use std::{fs, path::Path, process::ExitCode};

use clap_complete::Shell;
use fedpipe_host::{Error, Result};

use crate::{args::command_line, screen::output::print_result};

/// Prints the completions of a shell.
pub(crate) fn print_completions(shell: Shell) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command_line(), "fedpipe", &mut text);
    print_result(String::from_utf8_lossy(&text).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a man page for each command into a folder, which is made if it does not exist.
pub(crate) fn write_man_pages(directory: &Path) -> Result<ExitCode> {
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command_line(), directory));
    let shown = directory.display();
    written.map_err(|error| {
        Error::Output(format!("cannot write the man pages to {shown}: {error}; name a folder that you can write"))
    })?;
    print_result(format_args!("the man pages are in {shown}"))?;
    Ok(ExitCode::SUCCESS)
}
