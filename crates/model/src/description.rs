//! The description, the options and the task of a model: the data that are exchanged when it is built.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The name, version and options of a model, which are known before it is built.
///
/// ```
/// use fedpipe_model::Description;
///
/// let description = Description::new("mlp", "0.1.0", "multi-layer perceptron")
///     .option("hidden", "128,64", "widths of the hidden layers")
///     .option("dropout", "0", "share of the hidden values that are set to 0")
///     .instruction_set("avx2");
/// assert_eq!(description.options[1].key, "dropout");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The name that users type, such as `mlp`.
    pub name: String,
    /// The version of the model, usually `env!("CARGO_PKG_VERSION")`.
    pub version: String,
    /// One line that says which kind of model this is.
    pub summary: String,
    /// The options that `--model-option key=value` may set.
    pub options: Vec<OptionSpec>,
    /// The instruction set that the model computes with, for the ledger; empty if the model does not say.
    #[serde(default)]
    pub instruction_set: String,
    /// `true` if the model has [`Model::momentum`](crate::model::Model::momentum) and its counterpart.
    #[serde(default)]
    pub keeps_momentum: bool,
}

/// One option of a model; [`Description::option`] makes it.
///
/// ```
/// use fedpipe_model::{Description, OptionSpec};
///
/// let description = Description::new("mlp", "0.1.0", "perceptron").option("hidden", "128,64", "widths");
/// let spec = OptionSpec { key: "hidden".into(), default: "128,64".into(), help: "widths".into() };
/// assert_eq!(description.options, [spec]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionSpec {
    /// The key in `--model-option key=value`.
    pub key: String,
    /// The value if the user gives none.
    pub default: String,
    /// One line for `fedpipe models`.
    pub help: String,
}

impl Description {
    /// Returns a description without options.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            options: Vec::new(),
            instruction_set: String::new(),
            keeps_momentum: false,
        }
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, key: &str, default: &str, help: &str) -> Self {
        self.options.push(OptionSpec { key: key.into(), default: default.into(), help: help.into() });
        self
    }

    /// Says that the model gives and takes the momentum of its local optimiser.
    #[must_use]
    pub fn keeps_momentum(mut self) -> Self {
        self.keeps_momentum = true;
        self
    }

    /// Names the instruction set that the model computes with, such as `avx2`.
    #[must_use]
    pub fn instruction_set(mut self, name: &str) -> Self {
        self.instruction_set = name.into();
        self
    }
}

/// The task that the data set for a model: predict the target of examples of one shape.
///
/// ```
/// use fedpipe_model::{Target, Task};
///
/// let task = Task { shape: vec![28, 28], target: Target::Classes(10) };
/// assert_eq!((task.inputs(), task.outputs(), task.classes()), (784, 10, Ok(10)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The shape of one example, such as `[28, 28]`.
    pub shape: Vec<usize>,
    /// The kind of the targets.
    pub target: Target,
}

/// The kind of the targets that a model predicts.
///
/// ```
/// use fedpipe_model::{Target, Task};
///
/// let task = Task { shape: vec![10], target: Target::Real };
/// assert_eq!((task.outputs(), task.real()), (1, Ok(())));
/// let refusal = task.classes().unwrap_err().to_string();
/// assert!(refusal.ends_with("take a model of regression, such as linreg or mlp"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// One of this many classes. Labels are from 0 to the number minus 1.
    Classes(usize),
    /// A real number (regression).
    Real,
}

impl Task {
    /// Returns the number of values in one example.
    pub fn inputs(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the number of scores that [`Model::predict`](crate::model::Model::predict) gives for one example: the
    /// number of classes, or 1 for a real target.
    pub fn outputs(&self) -> usize {
        match self.target {
            Target::Classes(classes) => classes,
            Target::Real => 1,
        }
    }

    /// Returns the number of classes, for a model that predicts nothing else.
    ///
    /// # Errors
    /// A real target. The error advises on models of regression.
    pub fn classes(&self) -> Result<usize> {
        match self.target {
            Target::Classes(classes) => Ok(classes),
            Target::Real => Err(Error::new(
                "the model predicts classes, but the targets of the data are real numbers; take a model of regression, \
                 such as linreg or mlp",
            )),
        }
    }

    /// Returns nothing for a real target: the check of a model that predicts nothing else.
    ///
    /// # Errors
    /// Classes. The error advises on models of classification.
    pub fn real(&self) -> Result<()> {
        match self.target {
            Target::Real => Ok(()),
            Target::Classes(classes) => Err(Error::new(format!(
                "the model predicts real numbers, but the targets of the data are {classes} classes; take a model of \
                 classification, such as logreg or mlp"
            ))),
        }
    }
}

/// The options of a model, with defaults for those that the user does not set.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use fedpipe_model::{Description, Options};
///
/// let description = Description::new("mlp", "0.1.0", "perceptron").option("hidden", "128,64", "widths");
/// let options = Options::resolve(&description, BTreeMap::new())?;
/// assert_eq!(options.list::<usize>("hidden")?, [128, 64]);
/// assert!(options.get::<usize>("hidden").is_err());
/// # Ok::<(), fedpipe_model::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Combines the values that the user has `given` with the defaults of `description`.
    ///
    /// # Errors
    /// A key that `description` does not list. The error names the key and those that are listed.
    pub fn resolve(description: &Description, given: BTreeMap<String, String>) -> Result<Self> {
        let known: Vec<&str> = description.options.iter().map(|o| o.key.as_str()).collect();
        if let Some(key) = given.keys().find(|key| !known.contains(&key.as_str())) {
            let known = if known.is_empty() { "it has none".into() } else { format!("known: {}", known.join(", ")) };
            return Err(Error::new(format!("model {} has no option {key:?} ({known})", description.name)));
        }
        let defaults = description.options.iter().map(|o| (o.key.clone(), o.default.clone()));
        Ok(Self(defaults.chain(given).collect()))
    }

    /// Parses the value of the option `key`.
    ///
    /// # Errors
    /// A value that does not parse, or a key that [`Model::describe`](crate::model::Model::describe) does not list.
    pub fn get<T: FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<T> {
        parse(key, self.text(key)?)
    }

    /// Parses the value of the option `key` as a comma-separated list. An empty value is an empty list.
    ///
    /// # Errors
    /// Returns the errors of [`Options::get`].
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

    #[test]
    fn a_task_is_one_json_text() {
        let texts = [
            (Target::Classes(10), r#"{"shape":[2,3],"target":{"classes":10}}"#),
            (Target::Real, r#"{"shape":[2,3],"target":"real"}"#),
        ];
        for (target, text) in texts {
            let task = Task { shape: vec![2, 3], target };
            assert_eq!(serde_json::to_string(&task).unwrap(), text);
            assert_eq!(serde_json::from_str::<Task>(text).unwrap(), task);
        }
    }

    #[test]
    fn a_task_of_the_other_kind_is_refused_with_the_remedy() {
        let classes = Task { shape: vec![2], target: Target::Classes(3) };
        assert_eq!(
            classes.real().unwrap_err().to_string(),
            "the model predicts real numbers, but the targets of the data are 3 classes; take a model of \
             classification, such as logreg or mlp"
        );
    }
}
