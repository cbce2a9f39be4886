//! Parsers for the values of flags.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fedpipe_host::Level;
use strum::VariantNames;

/// Parses a level of isolation.
pub(crate) fn level() -> impl TypedValueParser<Value = Level> {
    PossibleValuesParser::new(Level::VARIANTS).try_map(|level| level.parse::<Level>())
}

/// Parses `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`; write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}
