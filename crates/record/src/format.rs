//! The format of an experiment, and so of the ledger and the run directory that hold it.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::error::{Error, Result};

/// The format that this version reads and writes.
pub const FORMAT: u64 = 2;

/// The sections of this format, which the first one did not have.
const SECTIONS: [&str; 5] = ["data", "clients", "local", "strategy", "execution"];

/// The key `format` of an experiment, which has one value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Format;

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u64(FORMAT)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            FORMAT => Ok(Self),
            found => Err(D::Error::custom(refusal(found))),
        }
    }
}

/// Refuses a table of an experiment in another format. The first format had no key for it.
///
/// # Errors
/// [`Error::Experiment`] with both formats.
pub fn check_table(table: &toml::Table) -> Result<()> {
    let has_sections = SECTIONS.iter().any(|section| table.get(*section).is_some_and(toml::Value::is_table));
    if has_sections && !table.contains_key("format") {
        return Err(Error::Experiment(format!(
            "the experiment does not say its format; add `format = {FORMAT}` at its top"
        )));
    }
    match table.get("format").map_or(Some(1), toml::Value::as_integer) {
        Some(found) if found.cast_unsigned() == FORMAT => Ok(()),
        Some(found) => Err(Error::Experiment(refusal(found.cast_unsigned()))),
        None => Err(Error::Experiment(format!("the format of the experiment is no number; give format = {FORMAT}"))),
    }
}

/// Refuses the first line of a ledger whose experiment has another format. Any other fault is for the reader.
///
/// # Errors
/// The sentence with both formats.
pub(crate) fn check_line(line: &[u8]) -> std::result::Result<(), String> {
    let Ok(line) = serde_json::from_slice::<serde_json::Value>(line) else { return Ok(()) };
    let Some(experiment) = line.get("experiment").and_then(serde_json::Value::as_object) else { return Ok(()) };
    match experiment.get("format").map_or(Some(1), serde_json::Value::as_u64) {
        None | Some(FORMAT) => Ok(()),
        Some(found) => Err(refusal(found)),
    }
}

fn refusal(found: u64) -> String {
    let remedy = match found.cmp(&FORMAT) {
        Ordering::Greater => "take a newer fedpipe",
        _ => "begin it anew with its keys in sections, or take the fedpipe that wrote it",
    };
    format!("the experiment has format {found}, and this fedpipe reads format {FORMAT}; {remedy}")
}
