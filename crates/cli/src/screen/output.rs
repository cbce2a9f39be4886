//! The output of the command: results to standard output, all else to standard error.
//!
//! `print!` and its kin panic if a device is full or a reader has closed its pipe; clippy refuses them.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use fedpipe_host::{Error, Result};

/// Writes a line to standard error. A failure is ignored, since there is no place left to report it to.
pub(crate) fn print_error(text: impl Display) {
    let _ = write_line(&mut io::stderr(), &text);
}

/// Writes a line of a run's progress to standard output. A failure is ignored, since the result of a run is its
/// directory.
pub(crate) fn print_progress(text: impl Display) {
    let _ = write_line(&mut io::stdout(), &text);
}

/// Writes a line of a command's result to standard output. Returns `false` if the reader has closed the pipe, as
/// `head` does.
///
/// # Errors
/// Returns [`Error::System`] if the device takes no more.
pub(crate) fn print_result(text: impl Display) -> Result<bool> {
    check_result(write_line(&mut io::stdout(), &text))
}

/// Turns the outcome of writing a result into that of [`print_result`].
///
/// # Errors
/// Returns the errors of [`print_result`].
pub(crate) fn check_result(written: io::Result<()>) -> Result<bool> {
    // Standard output buffers the text after the last line feed.
    match written.and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::System(anyhow::anyhow!("cannot write to standard output: {error}"))),
    }
}

/// Writes a line with one call, so that the lines of several processes do not mix.
fn write_line(to: &mut impl Write, text: &impl Display) -> io::Result<()> {
    to.write_all(format!("{text}\n").as_bytes())
}
