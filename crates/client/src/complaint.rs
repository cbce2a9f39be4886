//! The standard error of a client, which is its log.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Writes a line to standard error. A failure is ignored, where `eprintln!` panics: a host that was killed reads no log.
pub(crate) fn complain(text: impl Display) {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}
