//! Writes to the standard error of a client, which is its log.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Writes a line to standard error. It ignores a failure, since `eprintln!` would panic after the host was killed.
pub(crate) fn write_line(text: impl Display) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}
