//! The keys of an experiment. A key is one entry of a `section!`. The entry gives the struct's field, the key in
//! `experiment.toml`, the flag of the command, its help, its default and its range.

use std::collections::BTreeMap;

use fedpipe_data::{ImageSize, Source, TargetKind, TestSplitRule};
use fedpipe_protocol::Level;
use fedpipe_spec::table::{Named, Tabled};
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

/// A key of an experiment.
#[derive(Debug, Clone)]
pub struct ExperimentKey {
    /// The section of `experiment.toml`; empty for a key above the sections.
    pub section: &'static str,
    /// The name in its section.
    pub name: String,
    /// The flag with the form of its value, such as `--epochs N`; without dashes for the one argument that has no flag.
    pub usage: &'static str,
    /// The help of the flag.
    pub help: String,
    /// The default in words; `None` for a key that is absent by default.
    pub default: Option<String>,
    /// `true` if the default in words follows from other keys.
    is_default_in_words: bool,
    /// The number of values that the flag takes.
    pub arity: Arity,
    /// The values, if there are only a few.
    pub choices: &'static [&'static str],
    /// The flag that excludes this one.
    pub excluded: Option<&'static str>,
    /// `true` if this flag stands for the key of the excluded one in a file.
    pub replaces_excluded: bool,
    /// `true` if this flag stands for its whole section in a file.
    pub replaces_section: bool,
    /// Reads the text of the flag as the value of `experiment.toml`.
    pub read: fn(&str) -> Result<toml::Value, String>,
    range: Option<KeyRange>,
}

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

#[derive(Debug, Clone, Copy)]
struct KeyRange {
    fits: fn(f64) -> bool,
    wants: &'static str,
}

/// A type that a key may have.
pub trait KeyValue: Sized + Serialize {
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

parsed!(u32, u64, f32, f64, Availability, Epochs, InitialFile, Seed, Source, ImageSize, MemoryLimit, TestSplitRule);

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

impl ExperimentKey {
    /// Returns the key of a field. `help` is the field's documentation, a line each.
    pub(crate) fn new<T: KeyValue>(section: &'static str, field: &str, help: &[&str], default: &T) -> Self {
        let lines: Vec<&str> = help.iter().map(|line| line.trim()).collect();
        let rows = T::rows().map_or_else(String::new, |rows| format!(": {rows}"));
        let shown = |value: toml::Value| match value {
            toml::Value::String(text) => text,
            toml::Value::Float(number) => number.to_string(),
            value => value.to_string(),
        };
        let is_shown = T::ARITY == Arity::Value && !default.is_absent();
        Self {
            section,
            name: field.replace('_', "-"),
            usage: "",
            help: lines.join(" ") + &rows,
            default: is_shown.then(|| toml::Value::try_from(default).map(shown).unwrap_or_default()),
            is_default_in_words: false,
            arity: T::ARITY,
            choices: T::CHOICES,
            excluded: None,
            replaces_excluded: false,
            replaces_section: false,
            read: |text| value(&T::read(text)?),
            range: None,
        }
    }

    pub(crate) fn flag(self, usage: &'static str) -> Self {
        Self { usage, ..self }
    }

    /// Says the default in other words than its value.
    pub(crate) fn default(self, words: &str) -> Self {
        Self { default: Some(words.to_owned()), is_default_in_words: true, ..self }
    }

    /// Accepts numbers from 1.
    pub(crate) fn count(self) -> Self {
        self.within(|number| number >= 1.0, "at least 1")
    }

    /// Accepts the numbers that fit.
    pub(crate) fn within(self, fits: fn(f64) -> bool, wants: &'static str) -> Self {
        Self { range: Some(KeyRange { fits, wants }), ..self }
    }

    /// Refuses the flag beside another.
    pub(crate) fn not_with(self, flag: &'static str) -> Self {
        Self { excluded: Some(flag), ..self }
    }

    /// Refuses the flag beside another, whose key in a file it replaces.
    pub(crate) fn instead_of(self, flag: &'static str) -> Self {
        Self { replaces_excluded: true, ..self.not_with(flag) }
    }

    /// Lets the flag replace the whole section of a file.
    pub(crate) fn instead_of_section(self) -> Self {
        Self { replaces_section: true, ..self }
    }

    /// Returns the flag without its dashes, or the name of the argument that has no flag.
    pub fn id(&self) -> &str {
        self.long().unwrap_or(&self.name)
    }

    /// Returns the flag without its dashes; `None` for the argument that has no flag.
    pub fn long(&self) -> Option<&'static str> {
        self.usage.strip_prefix("--").map(|rest| rest.split(' ').next().unwrap_or(rest))
    }

    /// Returns the form of the flag's value, such as `N`.
    pub fn value_name(&self) -> &'static str {
        self.usage.rsplit(' ').next().unwrap_or(self.usage)
    }

    /// Returns `true` if the default is said in words, since it follows from other keys.
    pub fn has_default_in_words(&self) -> bool {
        self.is_default_in_words
    }

    /// Returns the range of the values in words.
    pub fn wants(&self) -> Option<&'static str> {
        self.range.map(|range| range.wants)
    }

    /// Returns the name that `--set` takes, such as `local.epochs`.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.clone() } else { format!("{}.{}", self.section, self.name) }
    }

    /// Returns the value in the table of an experiment.
    pub fn find<'t>(&self, experiment: &'t toml::Table) -> Option<&'t toml::Value> {
        match self.section {
            "" => experiment.get(&self.name),
            section => experiment.get(section)?.get(&self.name),
        }
    }

    /// Returns the reason why the value in the table of an experiment is out of range.
    pub(crate) fn refusal(&self, experiment: &toml::Table) -> Option<String> {
        let KeyRange { fits, wants } = self.range?;
        let value = self.find(experiment)?;
        let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64))?;
        (!fits(number)).then(|| format!("--{} is {number}; give {wants}", self.id()))
    }
}

/// Returns a value as TOML has it.
fn value(value: &impl Serialize) -> Result<toml::Value, String> {
    // TOML's whole numbers are the only ones that end before the type's.
    toml::Value::try_from(value).map_err(|_| format!("give at most {}", i64::MAX))
}

/// Defines a section of the experiment as a struct. An entry is a key: its help, its field with type and default, its
/// flag, and the methods of [`ExperimentKey`] that say more of it. A struct may begin with parts that are no keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident in $section:tt {
            $(parts { $($(#[doc = $words:literal])+ $part:ident: $part_type:ty;)+ })?
            $(
                $(#[doc = $help:literal])+
                $field:ident: $type:ty = $default:expr => $flag:literal $(.$more:ident($($argument:expr),*))*;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
        pub struct $name {
            $($($(#[doc = $words])+ pub $part: $part_type,)+)?
            $(
                $(#[doc = $help])+
                #[serde(skip_serializing_if = "crate::experiment_key::KeyValue::is_absent")]
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($($part: Default::default(),)+)? $($field: $default,)+ }
            }
        }

        impl $name {
            /// Returns the keys of the section, in the order of the help.
            pub(crate) fn section_keys() -> Vec<crate::experiment_key::ExperimentKey> {
                let default = Self::default();
                vec![$(
                    crate::experiment_key::ExperimentKey::new($section, stringify!($field), &[$($help),+], &default.$field)
                        .flag($flag)
                        $(.$more($($argument),*))*,
                )+]
            }
        }
    };
}

pub(crate) use section;
