//! The text of a named thing with parameters: `name`, `name:key=value,key=value`, or `name:value`.

use std::str::FromStr;

use crate::error::{Error, Result};

/// A text taken apart; its keys are not yet checked.
#[derive(Debug)]
pub struct Text<'a> {
    text: &'a str,
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Text<'a> {
    /// Takes `text` apart. A bare value (`dirichlet:0.3`) belongs to the key that `main_key` gives for the name.
    ///
    /// # Errors
    /// Returns [`Error::BareValue`] for a value without a key, [`Error::KeyTwice`] for a key that is given twice.
    pub fn parse(text: &'a str, main_key: impl Fn(&str) -> Option<&'static str>) -> Result<Self> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut parameters = Vec::new();
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let parameter = match (part.split_once('='), main_key(name)) {
                (Some(pair), _) => pair,
                (None, Some(key)) if part == rest => (key, part),
                (None, _) => {
                    return Err(Error::BareValue { text: text.to_owned(), value: part.to_owned() });
                }
            };
            if parameters.iter().any(|(key, _)| *key == parameter.0) {
                return Err(Error::KeyTwice { text: text.to_owned(), key: parameter.0.to_owned() });
            }
            parameters.push(parameter);
        }
        Ok(Self { text, name, parameters })
    }

    /// Returns the part before the colon.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Refuses every key that is not among `known`.
    ///
    /// # Errors
    /// Returns [`Error::UnknownKey`].
    pub fn only(&self, known: &[&'static str]) -> Result<()> {
        match self.parameters.iter().find(|(key, _)| !known.contains(key)) {
            None => Ok(()),
            Some((key, _)) => {
                let known = known.to_vec();
                Err(Error::UnknownKey { text: self.text.to_owned(), key: (*key).to_owned(), known })
            }
        }
    }

    /// Returns the value of `key`, or `None` where it is not given; `wants` describes the values that are right.
    ///
    /// # Errors
    /// Returns [`Error::BadValue`] for a value that cannot be read.
    pub fn get<T: FromStr>(&self, key: &'static str, wants: &'static str) -> Result<Option<T>> {
        let Some((_, value)) = self.parameters.iter().find(|(k, _)| *k == key) else { return Ok(None) };
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.bad_value(key, value, wants)),
        }
    }

    /// Returns the refusal of a value that is not right.
    pub fn bad_value(&self, key: &'static str, value: &str, wants: &'static str) -> Error {
        Error::BadValue { text: self.text.to_owned(), key, value: value.to_owned(), wants }
    }

    /// Returns the value of a key that must be given.
    ///
    /// # Errors
    /// Returns [`Error::MissingKey`] where it is not given, and errors as of [`Text::get`].
    pub fn need<T: std::str::FromStr>(&self, key: &'static str, wants: &'static str) -> Result<T> {
        self.get(key, wants)?.ok_or_else(|| self.missing(key, wants))
    }

    /// Returns the refusal of a text without a key that must be given.
    pub fn missing(&self, key: &'static str, wants: &'static str) -> Error {
        Error::MissingKey { text: self.text.to_owned(), name: self.name.to_owned(), key, wants }
    }
}

/// Splits a chain of such texts at each `+` before a name: that of `1e+5` belongs to the number.
pub fn members_of(chain: &str) -> Vec<&str> {
    let ends = chain.match_indices('+').map(|(at, _)| at);
    let ends = ends.filter(|at| !chain[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let mut start = 0;
    let mut members: Vec<&str> = ends.map(|end| &chain[std::mem::replace(&mut start, end + 1)..end]).collect();
    members.push(&chain[start..]);
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn main_key(name: &str) -> Option<&'static str> {
        (name == "dirichlet").then_some("alpha")
    }

    #[test]
    fn a_text_is_taken_apart() {
        for given in ["dirichlet:0.3", "dirichlet:alpha=0.3", "dirichlet:alpha=0.3,", "dirichlet:min-size=4,alpha=0.3"]
        {
            let text = Text::parse(given, main_key).unwrap();
            assert_eq!((text.name(), text.need("alpha", "a number").ok()), ("dirichlet", Some(0.3)), "{given}");
            assert_eq!(text.only(&["alpha", "min-size"]), Ok(()), "{given}");
        }
        assert_eq!(Text::parse("iid", main_key).unwrap().get::<u32>("min-size", "a number"), Ok(None));
    }

    #[test]
    fn an_error_names_the_value_and_the_remedy() {
        let read = |given: &str| {
            let text = Text::parse(given, main_key)?;
            text.only(&["alpha", "beta"])?;
            text.need::<f64>("alpha", "a number above 0")
        };
        let cases = [
            ("iid:3", "`iid:3` has the value `3` without a key; write `name:key=value,key=value`"),
            (
                "dirichlet:1,beta=2",
                "`dirichlet:1,beta=2` has the value `1` without a key; write `name:key=value,key=value`",
            ),
            ("dirichlet:alpha=1,alpha=2", "`dirichlet:alpha=1,alpha=2` gives the key `alpha` twice; give it once"),
            ("dirichlet:gamma=1", "`dirichlet:gamma=1` has the unknown key `gamma`; known are alpha, beta"),
            ("dirichlet", "`dirichlet` needs the key `alpha`, a number above 0; write `dirichlet:alpha=…`"),
            ("dirichlet:", "`dirichlet:` needs the key `alpha`, a number above 0; write `dirichlet:alpha=…`"),
            ("dirichlet:x", "`dirichlet:x` has `alpha=x`, which is not a number above 0; correct the value"),
        ];
        for (given, expected) in cases {
            assert_eq!(read(given).unwrap_err().to_string(), expected);
        }
        let text = Text::parse("iid:a=1", main_key).unwrap();
        assert_eq!(text.only(&[]).unwrap_err().to_string(), "`iid:a=1` has the unknown key `a`; it takes none");
    }
}
