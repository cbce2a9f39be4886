//! The output of the command: results to standard output, all else to standard error.
//!
//! `print!` and its kin panic where a device is full or a reader is gone; clippy refuses them.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use fedpipe_host::{Error, Result};

/// Writes a line to standard error. A failure is ignored: there is no place left to report it to.
pub(crate) fn print_error(text: impl Display) {
    let _ = write_line(&mut io::stderr(), &text);
}

/// Writes a line of a run's progress to standard output. A failure is ignored: a run's result is its directory.
pub(crate) fn print_progress(text: impl Display) {
    let _ = write_line(&mut io::stdout(), &text);
}

/// Writes a line that is a command's result to standard output; returns `false` if the reader is gone, as after `head`.
///
/// # Errors
/// [`Error::System`] for a device that takes no more.
pub(crate) fn print_result(text: impl Display) -> Result<bool> {
    check_result(write_line(&mut io::stdout(), &text))
}

/// Judges the outcome of writing a result, as [`print_result`] does.
///
/// # Errors
/// As for [`print_result`].
pub(crate) fn check_result(written: io::Result<()>) -> Result<bool> {
    // Standard output keeps what follows the last line feed.
    match written.and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::System(anyhow::anyhow!("cannot write to standard output: {error}"))),
    }
}

/// One write, so that lines of several processes do not mix.
fn write_line(to: &mut impl Write, text: &impl Display) -> io::Result<()> {
    to.write_all(format!("{text}\n").as_bytes())
}
