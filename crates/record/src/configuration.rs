//! The configuration of a run as text by key, to list runs and to compare them.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{experiment::Experiment, experiment_key::ExperimentKey};

/// The keys that name a seed. Runs that differ in them alone repeat one configuration.
pub const SEEDS: [&str; 4] = ["seed", "data-seed", "init-seed", "sample-seed"];

/// The key of the strategy with all its rows.
pub const STRATEGY: &str = "strategy";

/// The values of an experiment as text, by the path of the key. The rows of the strategy are one value.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Configuration(BTreeMap<String, String>);

impl Configuration {
    /// Returns the values of an experiment. Absent keys have none.
    pub fn of(experiment: &Experiment) -> Self {
        let table = Table::try_from(experiment).unwrap_or_default();
        let mut values = BTreeMap::new();
        for key in Experiment::keys().iter().filter(|key| key.section != STRATEGY) {
            values.extend(texts(key, &table));
        }
        values.insert(STRATEGY.to_owned(), experiment.strategy_name());
        Self(values)
    }

    /// Returns the value of a key by its path; `None` for a key that the experiment leaves out.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Adds a value that no key has, such as the SHA-256 of a dylib.
    pub fn insert(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// Returns the values that decide the kind of a run: without the seeds and without `[execution]`.
    #[must_use]
    pub fn without_seeds(&self) -> Self {
        let decides = |path: &str| !SEEDS.contains(&path) && !path.starts_with("execution.");
        Self(
            self.0
                .iter()
                .filter(|(path, _)| decides(path))
                .map(|(path, value)| (path.clone(), value.clone()))
                .collect(),
        )
    }

    /// Iterates over paths and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, value)| (path.as_str(), value.as_str()))
    }
}

/// Returns the paths at which some of the configurations differ, in the order of the help.
pub fn differing<'c>(all: impl IntoIterator<Item = &'c Configuration> + Clone) -> Vec<String> {
    let paths: BTreeSet<&str> = all.clone().into_iter().flat_map(Configuration::iter).map(|(path, _)| path).collect();
    let differs = |path: &&str| {
        let mut values = all.clone().into_iter().map(|configuration| configuration.get(path));
        values.next().is_some_and(|first| values.any(|value| value != first))
    };
    let keys = Experiment::keys();
    let is_of = |key: &ExperimentKey, path: &str| {
        let entry = path.strip_prefix(&key.path());
        key.section == path || entry.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let place = |path: &str| keys.iter().position(|key| is_of(key, path));
    let mut found: Vec<String> = paths.into_iter().filter(differs).map(str::to_owned).collect();
    found.sort_by_key(|path| place(path).unwrap_or(usize::MAX));
    found
}

/// Returns the value of a key as text, or those of its entries.
fn texts(key: &ExperimentKey, experiment: &Table) -> Vec<(String, String)> {
    match key.find(experiment) {
        None => Vec::new(),
        Some(Value::Table(entries)) => {
            entries.iter().map(|(name, value)| (format!("{}.{name}", key.path()), text(value))).collect()
        }
        Some(value) => vec![(key.path(), text(value))],
    }
}

/// Returns a value without the quotes of TOML. Numbers have the shortest form.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => shortest(*number),
        other => other.to_string(),
    }
}

/// Returns the shortest text of a number that is the same number. A rate is an f32, and 0.1 as such is 0.10000000149.
fn shortest(number: f64) -> String {
    let narrow = number as f32;
    if f64::from(narrow) == number { narrow.to_string() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Experiment)) -> Configuration {
        let mut experiment = Experiment { model: "mlp".into(), ..Experiment::default() };
        change(&mut experiment);
        Configuration::of(&experiment)
    }

    #[test]
    fn a_configuration_has_short_numbers_and_the_strategy_in_one_value() {
        let of = changed(|of| {
            of.strategy = "fedprox:0.1".parse().unwrap();
            of.model_options.insert("hidden".into(), "256,64".into());
        });
        let expected =
            [("local.lr", "0.1"), ("strategy", "fedprox:mu=0.1"), ("model-options.hidden", "256,64"), ("seed", "0")];
        for (path, value) in expected {
            assert_eq!(of.get(path), Some(value), "{path}");
        }
        assert_eq!([of.get("strategy.name"), of.get("data-seed")], [None, None]);
        let tiny = changed(|of| of.tolerance = 0.02);
        assert_eq!(tiny.get("tolerance"), Some("0.02"));
    }

    #[test]
    fn differences_are_in_the_order_of_the_help() {
        let all = [
            changed(|of| of.seed = crate::seed::Seed(1)),
            changed(|of| of.local.lr = 0.5),
            changed(|of| of.strategy = "scaffold".parse().unwrap()),
            changed(|of| of.execution.jobs = Some(3)),
        ];
        assert_eq!(differing(&all), ["seed", "local.lr", "strategy", "execution.jobs"]);
        let without: Vec<Configuration> = all.iter().map(Configuration::without_seeds).collect();
        assert_eq!(differing(&without), ["local.lr", "strategy"]);
        assert_eq!(without[0], without[3]);
        assert!(differing(&all[..1]).is_empty() && differing(&[]).is_empty());
    }
}
