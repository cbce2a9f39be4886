//! Parsers for the values of flags.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fedpipe_host::Level;
use fedpipe_record::key_names::path_of;
use strum::VariantNames;

/// Parses a level of isolation.
pub(crate) fn level() -> impl TypedValueParser<Value = Level> {
    PossibleValuesParser::new(Level::VARIANTS).try_map(|level| level.parse::<Level>())
}

/// Parses `KEY=VALUE`, whose key is a path or a short name. Returns the path of the key.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`; write KEY=VALUE"))?;
    Ok((path_of(key)?, value.to_owned()))
}
