//! Tables of the things that an experiment can name. A thing is one row: its name, its parameters, its source, and the
//! function that builds it. Parsing, `Display`, help, catalogues and documentation all come from the row.

use std::{borrow::Cow, fmt, ops::Deref, str::FromStr, sync::Arc};

use serde::Serialize;
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::{
    error::{Error, Result},
    number::shortest,
    pinned_file::is_sha256,
    text::Text,
};

/// A kind of thing that has a table: strategies, aggregators, partitioners.
pub trait Tabled: Send + Sync + 'static {
    /// The kind in a sentence, such as "strategy".
    const WHAT: &'static str;
    /// The name of the list of the rows, such as "strategies": the command that prints it.
    const LIST: &'static str;
    /// `true` if `Display` shows a value that is the default.
    const SHOWS_DEFAULTS: bool = true;

    /// Returns the rows, in the order in which they are listed.
    fn rows() -> &'static [TableRow<Self>];
}

/// A row of a table.
#[derive(Debug)]
pub struct TableRow<T: ?Sized> {
    /// The name that users type.
    pub name: &'static str,
    /// One line that says which rule this is.
    pub summary: &'static str,
    /// The parameters, in the order of `Display`.
    pub parameters: &'static [Parameter],
    /// The paper or the code that defines the rule.
    pub source: &'static str,
    /// Builds the rule from values that are in range.
    pub build: fn(&Values) -> Arc<T>,
}

/// A parameter of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The key that users type.
    pub key: &'static str,
    /// The value if the user gives none; `None` for a value that must be given.
    pub default: Option<Value>,
    /// The values that are accepted.
    pub range: Range,
    /// One line that says what the parameter does.
    pub help: &'static str,
}

/// A value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A word or a path.
    Text(Cow<'static, str>),
}

/// The values that a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// A number above 0.
    Positive,
    /// A number of at least 0.
    NotNegative,
    /// A number of at least 0 and below 1.
    Decay,
    /// A number of at least 0 and below one half.
    BelowHalf,
    /// A number of at least 1.
    AtLeastOne,
    /// A number above 0 and at most 1.
    Share,
    /// A number of at least 0 and at most 1.
    ZeroToOne,
    /// A whole number from 0.
    WholeNumber,
    /// A whole number from 1.
    Count,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word {
        /// The words.
        of: &'static [&'static str],
        /// The words in a sentence, such as "paper or code".
        wants: &'static str,
    },
    /// A number in a range, or a word in its place.
    NumberOr {
        /// The range of the number.
        number: &'static Range,
        /// The word.
        word: &'static str,
        /// Both in a sentence, such as "a number above 0, or median".
        wants: &'static str,
    },
    /// A text without a comma, which the words describe.
    Text(&'static str),
    /// A SHA-256 in hexadecimal; empty for none.
    Sha256,
}

/// A row in a catalogue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The name that users type.
    pub name: &'static str,
    /// One line that says which rule this is.
    pub summary: &'static str,
    /// The form that users type, with the defaults in it.
    pub example: String,
    /// The parameters, in the order of `Display`.
    pub parameters: Vec<EntryParameter>,
    /// The paper or the code that defines the rule.
    pub source: &'static str,
}

/// A parameter in a catalogue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryParameter {
    /// The key that users type.
    pub key: &'static str,
    /// The values that are accepted, in words.
    pub range: &'static str,
    /// The value if the user gives none; `None` for a value that must be given.
    pub default: Option<Value>,
    /// One line that says what the parameter does.
    pub help: &'static str,
}

/// The values of a row's parameters, one for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Values(Vec<(&'static str, Value)>);

/// A row with its values, and the rule that they build.
#[derive(DeserializeFromStr, SerializeDisplay)]
pub struct Named<T: Tabled + ?Sized> {
    row: &'static TableRow<T>,
    values: Values,
    rule: Arc<T>,
}

impl Range {
    /// Returns the accepted values in words.
    pub fn wants(self) -> &'static str {
        match self {
            Range::Positive => "a number above 0",
            Range::NotNegative => "a number of at least 0",
            Range::Decay => "a number of at least 0 and below 1",
            Range::BelowHalf => "a number of at least 0 and below 0.5",
            Range::AtLeastOne => "a number of at least 1",
            Range::Share => "a number above 0 and at most 1",
            Range::ZeroToOne => "a number of at least 0 and at most 1",
            Range::WholeNumber => "a whole number from 0",
            Range::Count => "a whole number from 1",
            Range::Flag => "true or false",
            Range::Sha256 => "64 hexadecimal digits",
            Range::Word { wants, .. } | Range::NumberOr { wants, .. } | Range::Text(wants) => wants,
        }
    }

    fn read(self, text: &Text<'_>, key: &'static str, what: &'static str) -> Result<Option<Value>> {
        let wants = self.wants();
        let Some(given) = text.get::<String>(key, wants)? else { return Ok(None) };
        match self {
            Range::Flag => return Ok(text.get(key, wants)?.map(Value::Flag)),
            Range::Word { of, .. } => return read_word(of, text, key, wants),
            Range::Text(_) => return Ok(Some(Value::Text(given.into()))),
            Range::Sha256 if given.is_empty() || is_sha256(&given) => {
                return Ok(Some(Value::Text(given.to_ascii_lowercase().into())));
            }
            Range::Sha256 => return Err(text.bad_value(key, &given, wants)),
            Range::NumberOr { word, .. } if given == word => return Ok(Some(Value::Text(Cow::Borrowed(word)))),
            _ => {}
        }
        let Some(value) = text.get::<f64>(key, wants)? else { return Ok(None) };
        let bound = match self.has(value).then(|| self.bound_of_type(value)) {
            Some(None) => return Ok(Some(Value::Number(value))),
            Some(Some(bound)) => format!(" ({bound})"),
            None => String::new(),
        };
        let what = format!("{what} {}", text.name());
        Err(Error::OutOfRange { what, key, value: given, wants: format!("{wants}{bound}") })
    }

    /// Returns the bound that a number of the range is beyond, in words. A rule has a `u32` of a whole number, and a
    /// client an `f32` of any other.
    fn bound_of_type(self, value: f64) -> Option<String> {
        match self {
            Range::NumberOr { number, .. } => number.bound_of_type(value),
            Range::WholeNumber | Range::Count => (value > f64::from(u32::MAX)).then(|| format!("at most {}", u32::MAX)),
            _ if value.abs() > f64::from(f32::MAX) => Some(format!("at most {:e}", f32::MAX)),
            _ if value != 0.0 && value.abs() < f64::from(f32::MIN_POSITIVE) => {
                Some(format!("apart from 0 at least {:e}", f32::MIN_POSITIVE))
            }
            _ => None,
        }
    }

    /// Returns `true` if the number is in the range.
    fn has(self, value: f64) -> bool {
        match self {
            Range::Positive => value > 0.0,
            Range::NotNegative => value >= 0.0,
            Range::Decay => (0.0..1.0).contains(&value),
            Range::BelowHalf => (0.0..0.5).contains(&value),
            Range::AtLeastOne => value >= 1.0,
            Range::Share => value > 0.0 && value <= 1.0,
            Range::ZeroToOne => (0.0..=1.0).contains(&value),
            Range::WholeNumber => value >= 0.0 && value.fract() == 0.0,
            Range::Count => value >= 1.0 && value.fract() == 0.0,
            Range::NumberOr { number, .. } => number.has(value),
            Range::Flag | Range::Word { .. } | Range::Text(_) | Range::Sha256 => false,
        }
    }
}

/// Reads a value that is one of the words `of`.
fn read_word(
    of: &'static [&'static str],
    text: &Text<'_>,
    key: &'static str,
    wants: &'static str,
) -> Result<Option<Value>> {
    let Some(given) = text.get::<String>(key, wants)? else { return Ok(None) };
    match of.iter().find(|word| **word == given) {
        Some(word) => Ok(Some(Value::Text(Cow::Borrowed(word)))),
        None => Err(text.bad_value(key, &given, wants)),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => f.write_str(&shortest(*number)),
            Value::Flag(flag) => flag.fmt(f),
            Value::Text(text) => text.fmt(f),
        }
    }
}

impl Values {
    fn get(&self, key: &str) -> &Value {
        let value = self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
        value.unwrap_or_else(|| panic!("the row has no parameter {key:?}"))
    }

    /// Returns the number of `key`.
    ///
    /// # Panics
    /// The row has no such parameter, or one of another kind: a fault of the row.
    pub fn number(&self, key: &str) -> f64 {
        match self.get(key) {
            Value::Number(number) => *number,
            _ => panic!("the parameter {key:?} is no number"),
        }
    }

    /// Returns the whole number of `key`.
    ///
    /// # Panics
    /// As for [`Values::number`].
    pub fn count(&self, key: &str) -> u32 {
        self.number(key) as u32
    }

    /// Returns the number of `key`; `None` for the word in its place.
    ///
    /// # Panics
    /// The row has no such parameter.
    pub fn number_or_word(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the flag of `key`.
    ///
    /// # Panics
    /// As for [`Values::number`].
    pub fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            Value::Flag(flag) => *flag,
            _ => panic!("the parameter {key:?} is no flag"),
        }
    }

    /// Returns the word or the text of `key`.
    ///
    /// # Panics
    /// As for [`Values::number`].
    pub fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Value::Text(text) => text,
            _ => panic!("the parameter {key:?} is no text"),
        }
    }

    /// Iterates over keys and values, in the order of the row.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.0.iter().cloned()
    }
}

impl<T: ?Sized> TableRow<T> {
    /// Returns the key of a value that is given without one: the only parameter, or the first one if it must be given.
    fn main_key(&self) -> Option<&'static str> {
        let is_main = |first: &&Parameter| self.parameters.len() == 1 || first.default.is_none();
        self.parameters.first().filter(is_main).map(|first| first.key)
    }

    fn entry(&self) -> Entry {
        let parameter = |parameter: &Parameter| {
            let Parameter { key, default, range, help } = parameter.clone();
            EntryParameter { key, range: range.wants(), default, help }
        };
        let Self { name, summary, source, .. } = *self;
        Entry {
            name,
            summary,
            example: self.example(),
            parameters: self.parameters.iter().map(parameter).collect(),
            source,
        }
    }

    /// Returns the form that users type, such as `momentum:rate=1,beta=0.9`, with the defaults in it.
    pub fn example(&self) -> String {
        let value = |parameter: &Parameter| {
            let value = parameter.default.as_ref().map_or("…".to_owned(), Value::to_string);
            (parameter.key, value)
        };
        shown(self.name, self.parameters.iter().map(value))
    }
}

/// Returns the catalogue of a table.
pub fn entries<T: Tabled + ?Sized>() -> Vec<Entry> {
    T::rows().iter().map(TableRow::entry).collect()
}

fn shown<V: fmt::Display>(name: &str, parameters: impl Iterator<Item = (&'static str, V)>) -> String {
    let parameters: Vec<String> = parameters.map(|(key, value)| format!("{key}={value}")).collect();
    if parameters.is_empty() { name.to_owned() } else { format!("{name}:{}", parameters.join(",")) }
}

impl<T: Tabled + ?Sized> Named<T> {
    /// Returns the row.
    pub fn row(&self) -> &'static TableRow<T> {
        self.row
    }

    /// Returns the name of the row.
    pub fn name(&self) -> &'static str {
        self.row.name
    }

    /// Returns the values of the parameters.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Returns the parameters whose values differ from the defaults.
    pub fn changed(&self) -> impl Iterator<Item = (&'static str, Value)> + '_ {
        let defaults = self.row.parameters.iter().map(|parameter| parameter.default.as_ref());
        self.values.iter().zip(defaults).filter(|((_, value), default)| Some(value) != *default).map(|(pair, _)| pair)
    }

    fn parse(text: &str) -> Result<Self> {
        let name = text.split_once(':').map_or(text, |(name, _)| name);
        let Some(row) = T::rows().iter().find(|row| row.name == name) else {
            let known = T::rows().iter().map(|row| row.name).collect();
            return Err(Error::UnknownName { what: T::WHAT, given: name.to_owned(), known });
        };
        let text = Text::parse(text, |_| row.main_key())?;
        let keys: Vec<&'static str> = row.parameters.iter().map(|parameter| parameter.key).collect();
        text.only(&keys)?;
        let value = |parameter: &Parameter| {
            let Parameter { key, default, range, .. } = parameter.clone();
            match range.read(&text, key, T::WHAT)?.or(default) {
                Some(value) => Ok((key, value)),
                None => Err(text.missing(key, range.wants())),
            }
        };
        let values = Values(row.parameters.iter().map(value).collect::<Result<_>>()?);
        let rule = (row.build)(&values);
        Ok(Self { row, values, rule })
    }
}

impl<T: Tabled + ?Sized> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self { row: self.row, values: self.values.clone(), rule: Arc::clone(&self.rule) }
    }
}

impl<T: Tabled + ?Sized> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.row.name == other.row.name && self.values == other.values
    }
}

impl<T: Tabled + ?Sized> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {self}", T::WHAT)
    }
}

impl<T: Tabled + ?Sized> fmt::Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            if T::SHOWS_DEFAULTS { shown(self.name(), self.values.iter()) } else { shown(self.name(), self.changed()) };
        f.write_str(&text)
    }
}

impl<T: Tabled + ?Sized> FromStr for Named<T> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl<T: Tabled + ?Sized> Deref for Named<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.rule
    }
}

/// The first row without parameters that must be given is the default of its table.
impl<T: Tabled + ?Sized> Default for Named<T> {
    fn default() -> Self {
        let named = T::rows().first().and_then(|row| Self::parse(row.name).ok());
        named.unwrap_or_else(|| panic!("the first {} has a parameter without a default", T::WHAT))
    }
}

#[cfg(test)]
mod tests;
