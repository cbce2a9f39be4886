//! The spelling that all pieces of an experiment share: `name`, `name:key=value,key=value`, or `name:value`.

use crate::DataError;

/// A piece, taken apart; its keys are not yet checked.
#[derive(Debug)]
pub struct Piece<'a> {
    text: &'a str,
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Piece<'a> {
    /// Takes `text` apart. A bare value (`dirichlet:0.3`) is that of the key which `main_key` gives for the name.
    pub fn parse(text: &'a str, main_key: fn(&str) -> Option<&'static str>) -> Result<Self, DataError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut parameters = Vec::new();
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let parameter = match (part.split_once('='), main_key(name)) {
                (Some(pair), _) => pair,
                (None, Some(key)) if part == rest => (key, part),
                (None, _) => {
                    return Err(DataError::BareValue { piece: text.to_owned(), value: part.to_owned() });
                }
            };
            if parameters.iter().any(|(key, _)| *key == parameter.0) {
                return Err(DataError::KeyTwice { piece: text.to_owned(), key: parameter.0.to_owned() });
            }
            parameters.push(parameter);
        }
        Ok(Self { text, name, parameters })
    }

    /// What stands before the colon.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Refuses every key that is not among `known`.
    pub fn only(&self, known: &'static [&'static str]) -> Result<(), DataError> {
        match self.parameters.iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(()),
            Some((key, _)) => Err(DataError::UnknownKey { piece: self.text.to_owned(), key: (*key).to_owned(), known }),
        }
    }

    /// The value of `key`, or nothing where it is not given; `wants` says what a right value is.
    pub fn get<T: std::str::FromStr>(&self, key: &'static str, wants: &'static str) -> Result<Option<T>, DataError> {
        let Some((_, value)) = self.parameters.iter().find(|(k, _)| *k == key) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(DataError::BadValue { piece: self.text.to_owned(), key, value: (*value).to_owned(), wants }),
        }
    }

    /// The value of a key that must be given.
    pub fn need<T: std::str::FromStr>(&self, key: &'static str, wants: &'static str) -> Result<T, DataError> {
        self.get(key, wants)?.ok_or_else(|| DataError::MissingKey { piece: self.text.to_owned(), key, wants })
    }
}
