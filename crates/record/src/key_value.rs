//! The types of the values that an experiment's keys have: the text of a flag, and the value of a file.

use std::{collections::BTreeMap, num::IntErrorKind};

use fedpipe_data::{ImageSize, Source, TargetKind, TestSplitRule};
use fedpipe_protocol::Level;
use fedpipe_spec::{
    number::shortest,
    table::{Named, Tabled},
};
use fedpipe_strategy::{
    aggregator::{Aggregator, mixed_chain::Aggregation},
    pre_aggregator::PreAggregator,
    transform::{Transform, chain::Transforms},
};
use serde::{Serialize, de::DeserializeOwned};
use strum::VariantNames;

use crate::{
    availability::Availability, epochs::Epochs, initial_file::InitialFile, memory_limit::MemoryLimit, seed::Seed,
};

/// The number of values that a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// One value.
    Value,
    /// None: the flag is `true`.
    Switch,
    /// `KEY=VALUE`, as often as the user likes.
    Entries,
}

/// The refusal of a text that is no whole number, to which a key adds its range.
pub(crate) const NO_WHOLE_NUMBER: &str = "give a whole number";

/// The refusal of a text that is no number, to which a key adds its range.
pub(crate) const NO_NUMBER: &str = "give a number";

/// A type that a key may have.
pub trait KeyValue: Sized + Serialize + DeserializeOwned {
    /// The number of values that the flag takes.
    const ARITY: Arity = Arity::Value;
    /// The values, if there are only a few.
    const CHOICES: &'static [&'static str] = &[];

    /// Reads the text of a flag.
    ///
    /// # Errors
    /// The reason, and the remedy.
    fn read(text: &str) -> Result<Self, String>;

    /// Returns the names of the rows, if the value is one of a table, with the command that lists them.
    fn rows() -> Option<String> {
        None
    }

    /// Returns `true` for a value that a file leaves out.
    fn is_absent(&self) -> bool {
        false
    }
}

macro_rules! parsed {
    ($($type:ty),*) => {
        $(impl KeyValue for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error: <Self as std::str::FromStr>::Err| error.to_string())
            }
        })*
    };
}

parsed!(Availability, InitialFile, Seed, Source, ImageSize, MemoryLimit, TestSplitRule);

/// Reads a whole number up to `most`.
fn read_whole(text: &str, most: u64) -> Result<u64, String> {
    let too_great = || Err(format!("give at most {most}"));
    match text.parse::<u64>() {
        Ok(number) if number <= most => Ok(number),
        Ok(_) => too_great(),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => too_great(),
        Err(_) => Err(NO_WHOLE_NUMBER.to_owned()),
    }
}

impl KeyValue for u32 {
    fn read(text: &str) -> Result<Self, String> {
        read_whole(text, Self::MAX.into()).map(|number| number as Self)
    }
}

/// TOML's whole numbers end before those of the type.
impl KeyValue for u64 {
    fn read(text: &str) -> Result<Self, String> {
        read_whole(text, i64::MAX as Self)
    }
}

impl KeyValue for f64 {
    fn read(text: &str) -> Result<Self, String> {
        let number: Self = text.parse().map_err(|_| NO_NUMBER.to_owned())?;
        // The text `inf` has no digit.
        if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
            return Err(format!("give at most {:e}", Self::MAX));
        }
        Ok(number)
    }
}

/// A number that this type turns into an infinite one, or into 0, is refused.
impl KeyValue for f32 {
    fn read(text: &str) -> Result<Self, String> {
        let (wide, number) = (f64::read(text)?, text.parse::<Self>().map_err(|_| NO_NUMBER.to_owned())?);
        if wide.is_finite() && number.is_infinite() {
            return Err(format!("give at most {:e}", Self::MAX));
        }
        if wide != 0.0 && number.abs() < Self::MIN_POSITIVE {
            return Err(format!("give at least {:e}", Self::MIN_POSITIVE));
        }
        Ok(number)
    }
}

impl KeyValue for Epochs {
    fn read(text: &str) -> Result<Self, String> {
        f64::read(text).map(Self)
    }
}

/// A chain of rows.
impl KeyValue for Transforms {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: fedpipe_spec::error::Error| error.to_string())
    }

    fn rows() -> Option<String> {
        Named::<Transform>::rows()
    }
}

impl KeyValue for Aggregation {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: fedpipe_spec::error::Error| error.to_string())
    }

    fn rows() -> Option<String> {
        let rules = Named::<dyn Aggregator>::rows()?;
        Some(format!("{rules}; before it {}", Named::<dyn PreAggregator>::rows()?))
    }
}

impl KeyValue for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl KeyValue for bool {
    const ARITY: Arity = Arity::Switch;

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "give true or false".to_owned())
    }
}

/// Reads a word of a closed list as `experiment.toml` has it. The error lists the words.
pub(crate) fn read_word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::Value::from(text).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

impl KeyValue for Level {
    const CHOICES: &'static [&'static str] = Self::VARIANTS;

    fn read(text: &str) -> Result<Self, String> {
        read_word(text)
    }
}

impl KeyValue for TargetKind {
    const CHOICES: &'static [&'static str] = &["classes", "real"];

    fn read(text: &str) -> Result<Self, String> {
        read_word(text)
    }
}

/// Entries, of which a flag gives one.
impl KeyValue for BTreeMap<String, String> {
    const ARITY: Arity = Arity::Entries;

    fn read(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} has no `=`; write KEY=VALUE"))?;
        Ok(Self::from([(key.to_owned(), value.to_owned())]))
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Tabled + ?Sized> KeyValue for Named<T> {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: fedpipe_spec::error::Error| error.to_string())
    }

    fn rows() -> Option<String> {
        let names: Vec<&str> = T::rows().iter().map(|row| row.name).collect();
        Some(format!("{} (see `fedpipe {}`)", names.join(", "), T::LIST))
    }
}

impl<T: KeyValue> KeyValue for Option<T> {
    const ARITY: Arity = T::ARITY;
    const CHOICES: &'static [&'static str] = T::CHOICES;

    fn read(text: &str) -> Result<Self, String> {
        T::read(text).map(Some)
    }

    fn rows() -> Option<String> {
        T::rows()
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// Refuses a value of TOML that is not of the type `T`, with the reason that a flag has.
pub(crate) fn accept<T: KeyValue>(value: &toml::Value) -> Result<(), String> {
    if T::ARITY == Arity::Entries {
        return value.clone().try_into::<T>().map(drop).map_err(|_| "write each value in quotes".to_owned());
    }
    if value.is_table() || value.is_array() {
        return Err("give one value".to_owned());
    }
    T::read(&shown(value))?;
    let is_number = || toml::Value::Integer(1).try_into::<T>().is_ok();
    let remedy = match value {
        toml::Value::String(_) => "write the value without quotes",
        toml::Value::Float(_) if is_number() => "write the number without a point",
        _ => "write the value in quotes",
    };
    value.clone().try_into::<T>().map(drop).map_err(|_| remedy.to_owned())
}

/// Returns a value of TOML as a flag has it.
pub(crate) fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => shortest(*number),
        value => value.to_string(),
    }
}

/// Returns the number of a value; `None` for a value of another type.
pub(crate) fn number_of(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64))
}

/// Returns a value as TOML has it.
pub(crate) fn toml_value(value: &impl Serialize) -> Result<toml::Value, String> {
    // TOML's whole numbers are the only ones that end before the type's.
    toml::Value::try_from(value).map_err(|_| format!("give at most {}", i64::MAX))
}
