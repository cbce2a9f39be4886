use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a model says of itself before it is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The name users type, such as `mlp`.
    pub name: String,
    /// The model's own version; `env!("CARGO_PKG_VERSION")` is usual.
    pub version: String,
    /// One line.
    pub summary: String,
    /// Every key that `--model-option key=value` may name.
    pub options: Vec<OptionSpec>,
}

/// One option of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionSpec {
    /// As in `--model-option key=value`.
    pub key: String,
    /// The value it has when the user gives none.
    pub default: String,
    /// One line.
    pub help: String,
}

impl Description {
    /// A description without options.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self { name: name.into(), version: version.into(), summary: summary.into(), options: Vec::new() }
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, key: &str, default: &str, help: &str) -> Self {
        self.options.push(OptionSpec { key: key.into(), default: default.into(), help: help.into() });
        self
    }
}

/// What the data ask of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The shape of one example, such as `[28, 28]`.
    pub shape: Vec<usize>,
    /// Labels are below this.
    pub classes: usize,
}

impl Task {
    /// How many values one example has.
    pub fn inputs(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The options of a model, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Fills in the defaults of `description` and refuses keys it does not name.
    ///
    /// # Errors
    /// An unknown key, named together with the known ones.
    pub fn resolve(description: &Description, given: BTreeMap<String, String>) -> Result<Self> {
        let known: Vec<&str> = description.options.iter().map(|o| o.key.as_str()).collect();
        if let Some(key) = given.keys().find(|key| !known.contains(&key.as_str())) {
            let known = if known.is_empty() { "it has none".into() } else { format!("known: {}", known.join(", ")) };
            return Err(Error::new(format!("model {} has no option {key:?} ({known})", description.name)));
        }
        let defaults = description.options.iter().map(|o| (o.key.clone(), o.default.clone()));
        Ok(Self(defaults.chain(given).collect()))
    }

    /// The option `key`, parsed.
    ///
    /// # Errors
    /// A value that does not parse, or a key that [`Model::describe`](crate::Model::describe) forgot.
    pub fn get<T: FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<T> {
        parse(key, self.text(key)?)
    }

    /// The option `key` as a comma-separated list; an empty value is an empty list.
    ///
    /// # Errors
    /// As for [`Options::get`].
    pub fn list<T: FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<Vec<T>> {
        let text = self.text(key)?;
        text.split(',').filter(|_| !text.is_empty()).map(|item| parse(key, item)).collect()
    }

    fn text(&self, key: &str) -> Result<&str> {
        let text = self.0.get(key).map(String::as_str);
        text.ok_or_else(|| Error::new(format!("the model asks for the option {key:?} that it does not describe")))
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(key: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|why| Error::new(format!("model option {key}: {text:?} does not fit: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description::new("m", "1", "s").option("hidden", "128,64", "widths")
    }

    #[test]
    fn defaults_and_given_values_are_merged() {
        let options = Options::resolve(&description(), BTreeMap::new()).unwrap();
        assert_eq!(options.list::<usize>("hidden").unwrap(), [128, 64]);
        let given = BTreeMap::from([("hidden".into(), "".into())]);
        assert!(Options::resolve(&description(), given).unwrap().list::<usize>("hidden").unwrap().is_empty());
    }

    #[test]
    fn unknown_keys_are_named_with_the_known_ones() {
        let given = BTreeMap::from([("width".into(), "3".into())]);
        let error = Options::resolve(&description(), given).unwrap_err().to_string();
        assert_eq!(error, "model m has no option \"width\" (known: hidden)");
    }

    #[test]
    fn values_that_do_not_parse_are_named() {
        let given = BTreeMap::from([("hidden".into(), "12,x".into())]);
        let error = Options::resolve(&description(), given).unwrap().list::<usize>("hidden").unwrap_err();
        assert!(error.to_string().contains("hidden: \"x\" does not fit"), "{error}");
    }
}
