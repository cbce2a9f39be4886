//! The grid of a sweep: the values of each key, as `--set` has them, and the experiment of each combination.

use std::{collections::BTreeMap, path::Path};

use fedpipe_host::{Error, Result};
use fedpipe_record::{
    configuration::text,
    experiment::Experiment,
    experiment_key::ExperimentKey,
    key_names::key_at,
    key_value::Arity,
    sweep::{Axis, Sweep, SweepRun, experiment_file},
};
use toml::{Table, Value};

use crate::{
    args::{experiment_args::ExperimentArgs, run_args::RunArgs},
    inputs::{dylibs::find_dylib, resolve::resolve},
};

/// The most runs of a sweep.
const MOST: u64 = 10_000;

/// Returns the axes of a grid. The values of a key that is given several times are one list.
///
/// # Errors
/// [`Error::Usage`] with the key and the value.
pub(crate) fn axes(set: &[(String, String)]) -> Result<Vec<Axis>> {
    let mut axes: Vec<Axis> = Vec::new();
    for (path, given) in set {
        let refused = |why: String| Error::Usage(format!("--set {path}: {why}"));
        let Some(key) = key_at(path) else {
            return Err(refused("a sweep has this version's format; leave it out".into()));
        };
        let values = values(&key, given).map_err(refused)?;
        let known = axes.iter().position(|axis| axis.key == *path).unwrap_or(axes.len());
        if known == axes.len() {
            axes.push(Axis { key: path.clone(), values: Vec::new() });
        }
        for value in values {
            if axes[known].values.contains(&value) {
                return Err(refused(format!("the value {value} is there twice; give it once")));
            }
            axes[known].values.push(value);
        }
    }
    let count = axes.iter().fold(1_u64, |count, axis| count.saturating_mul(axis.values.len() as u64));
    if count > MOST {
        return Err(Error::Usage(format!("the grid has {count} runs; give fewer values, at most {MOST} runs")));
    }
    Ok(axes)
}

/// Returns the experiment of each run of a sweep, in the order of its runs. All are checked.
///
/// # Errors
/// Returns the errors of [`resolve`], with the values of the run.
pub(crate) fn experiments(sweep: &Sweep, file: &Path) -> Result<Vec<Experiment>> {
    sweep.runs.iter().map(|run| experiment(file, &run.values)).collect()
}

/// Returns a sweep with more values of its keys, and the experiment of each run that is new in it. Such a run has the
/// experiment of a run of before, with the new values.
///
/// # Errors
/// Returns [`Error::Usage`] for a key that the sweep does not have, and the errors of [`resolve`].
pub(crate) fn extended(sweep: &Sweep, folder: &Path, more: &[Axis]) -> Result<(Sweep, Vec<(String, Experiment)>)> {
    let grid = sweep.extended(more)?;
    let new = grid.runs.iter().filter(|run| !sweep.runs.contains(run));
    let experiment_of = |run: &SweepRun| {
        let like = sweep.like(run, more).unwrap_or(run);
        let is_new = |(key, _): &(&String, &String)| more.iter().any(|axis| axis.key == **key);
        let values = run.values.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok((run.name.clone(), experiment(&experiment_file(folder, &like.name), &values)?))
    };
    let new = new.map(experiment_of).collect::<Result<_>>()?;
    Ok((grid, new))
}

/// Returns the experiment in a file with these values, which is checked.
///
/// # Errors
/// Returns the errors of [`resolve`], with the values.
pub(crate) fn experiment(file: &Path, values: &BTreeMap<String, String>) -> Result<Experiment> {
    let set = values.iter().map(|(path, value)| (path.clone(), toml_of(path, value))).collect();
    let args = RunArgs {
        experiment: ExperimentArgs::none(),
        resume: None,
        force: false,
        over: None,
        out: None,
        overwrite: false,
        config: Some(file.to_owned()),
        set,
        trace: false,
        tensorboard: false,
        quiet: true,
    };
    let checked = resolve(&args).and_then(|experiment| {
        experiment.check()?;
        if experiment.client.is_none() {
            find_dylib(&experiment.model)?;
        }
        Ok(experiment)
    });
    checked.map_err(|error| with_values(error, values))
}

/// Adds the values of the run to an error of its experiment.
fn with_values(error: Error, values: &BTreeMap<String, String>) -> Error {
    let pairs: Vec<String> = values.iter().map(|(path, value)| format!("{path}={value}")).collect();
    let named = |why: String| if pairs.is_empty() { why } else { format!("the run {}: {why}", pairs.join(" ")) };
    match error {
        Error::Usage(why) => Error::Usage(named(why)),
        Error::Model(why) => Error::Model(named(why)),
        other => other,
    }
}

/// Returns a value of an axis as TOML has it, so that text that looks like a number stays text.
fn toml_of(path: &str, value: &str) -> String {
    match key_at(path).filter(|key| key.path() == path).map(|key| key.read(value)) {
        Some(Ok(read)) => read.to_string(),
        _ => Value::from(value).to_string(),
    }
}

/// Returns the values that a text gives to a key, as an experiment writes them.
fn values(key: &ExperimentKey, given: &str) -> std::result::Result<Vec<String>, String> {
    let mut values = Vec::new();
    for piece in pieces(given)? {
        match piece {
            Piece::Plain(text) if text.is_empty() => {
                return Err(format!("{given:?} has an empty value; leave out a comma, or write \"\""));
            }
            Piece::Plain(text) => match range(&text)? {
                Some(numbers) => values.extend(numbers.map(|number| number.to_string())),
                None => values.push(text),
            },
            Piece::Quoted(text) => values.push(text),
        }
    }
    values.iter().map(|value| canonical(key, value)).collect()
}

/// Returns a value as an experiment writes it.
fn canonical(key: &ExperimentKey, value: &str) -> std::result::Result<String, String> {
    if key.arity == Arity::Entries {
        return Ok(value.to_owned());
    }
    let refused = |why: String| {
        let remedy = if value.contains('=') { "; a value with commas is in quotes" } else { "" };
        format!("{value:?} is refused: {why}{remedy}")
    };
    key.read(value).map(|value| text(&value)).map_err(refused)
}

/// A part of a list of values.
#[derive(Debug, PartialEq)]
enum Piece {
    Plain(String),
    /// A text in quotes, or an element of a TOML array, which is no range.
    Quoted(String),
}

/// Splits a list at its commas, except those in quotes and those before the parameters of a rule.
fn pieces(given: &str) -> std::result::Result<Vec<Piece>, String> {
    if let Some(array) = array(given) {
        return Ok(array.iter().map(|value| Piece::Quoted(text(value))).collect());
    }
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in given.chars() {
        match quote {
            None if c == ',' => {
                parts.push(String::new());
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    if let Some(quote) = quote {
        return Err(format!("{given:?} has a quote {quote} without an end; add it"));
    }
    let mut pieces: Vec<Piece> = Vec::new();
    for part in parts {
        let part = part.trim();
        let quoted = ['"', '\''].iter().find_map(|&quote| part.strip_prefix(quote)?.strip_suffix(quote));
        match (quoted, pieces.last_mut()) {
            (Some(text), _) => pieces.push(Piece::Quoted(text.to_owned())),
            (None, Some(Piece::Plain(rule))) if is_parameter_of(rule, part) => *rule += &format!(",{part}"),
            (None, _) => pieces.push(Piece::Plain(part.to_owned())),
        }
    }
    Ok(pieces)
}

fn array(given: &str) -> Option<Vec<Value>> {
    let mut table =
        format!("values = {given}").parse::<Table>().ok().filter(|_| given.trim_start().starts_with('['))?;
    match table.remove("values") {
        Some(Value::Array(values)) => Some(values),
        _ => None,
    }
}

/// Returns `true` for the part `beta=0.5` after the rule `fedavgm:rate=1`.
fn is_parameter_of(rule: &str, part: &str) -> bool {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let has_parameters = rule.split_once(':').is_some_and(|(name, _)| is_word(name));
    has_parameters && part.split_once('=').is_some_and(|(key, _)| is_word(key))
}

/// Returns the numbers of a range such as `0..4`, which has its end; `None` for another text.
fn range(text: &str) -> std::result::Result<Option<std::ops::RangeInclusive<u64>>, String> {
    let Some((from, to)) = text.split_once("..") else { return Ok(None) };
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if let Some(end) = to.strip_prefix('=').filter(|end| is_number(end) && is_number(from)) {
        return Err(format!("{text:?} is no range; write {from}..{end}, which has its end"));
    }
    if !is_number(from) || !is_number(to) {
        return Ok(None);
    }
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    let (from, to) = (number(from)?, number(to)?);
    if from > to {
        return Err(format!("the range {text} is empty; write {to}..{from}"));
    }
    if to - from >= MOST {
        return Err(format!("the range {text} has more than {MOST} values; give fewer"));
    }
    Ok(Some(from..=to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, given: &str) -> std::result::Result<Vec<String>, String> {
        let set = [(path.to_owned(), given.to_owned())];
        axes(&set).map(|axes| axes[0].values.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_a_range_and_an_array_give_values() {
        for (path, given, expected) in [
            ("local.lr", "0.01,0.1", &["0.01", "0.1"][..]),
            ("local.lr", "1e-2, .5", &["0.01", "0.5"]),
            ("seed", "0..4", &["0", "1", "2", "3", "4"]),
            ("seed", "0..1,7", &["0", "1", "7"]),
            ("seed", "[3, 4]", &["3", "4"]),
            ("strategy.name", "fedavg,fedprox:0.1", &["fedavg", "fedprox:mu=0.1"]),
            ("strategy.name", "fedavgm:rate=1,beta=0.5,fedavg", &["fedavgm:rate=1,beta=0.5,nesterov=false", "fedavg"]),
            (
                "strategy.name",
                "[\"fedavgm:rate=1,beta=0.5\", \"fedavg\"]",
                &["fedavgm:rate=1,beta=0.5,nesterov=false", "fedavg"],
            ),
            ("model-options.hidden", "\"256,64\",'128'", &["256,64", "128"]),
            ("model-options.hidden", "[\"256,64\", \"128\"]", &["256,64", "128"]),
            ("until", "\"accuracy=0.8,stop=false\"", &["accuracy=0.8,stop=false"]),
            ("data.standardise", "true,false", &["true", "false"]),
            ("data.label", "\"0..4\"", &["0..4"]),
            ("data.source", "../a,../b", &["../a", "../b"]),
        ] {
            assert_eq!(of(path, given).unwrap(), expected, "{path}={given}");
        }
    }

    #[test]
    fn a_wrong_list_is_refused_with_the_remedy() {
        for (path, given, why) in [
            ("local.lr", "0.1,,0.2", "has an empty value; leave out a comma"),
            ("local.lr", "0.1,fast", "--set local.lr: \"fast\" is refused: give a finite number above 0"),
            ("local.lr", "0.1,0.10", "the value 0.1 is there twice"),
            ("seed", "0..=4", "write 0..4, which has its end"),
            ("seed", "4..0", "the range 4..0 is empty; write 0..4"),
            ("seed", "0..10000", "more than 10000 values"),
            ("strategy.name", "fedfoo", "known are fedavg"),
            ("until", "accuracy=0.8,stop=false", "a value with commas is in quotes"),
            ("model-options.hidden", "\"256,64", "has a quote \" without an end"),
        ] {
            let error = of(path, given).unwrap_err();
            assert!(error.contains(why), "{path}={given}: {error}");
        }
        let twice = [("seed", "0..99"), ("local.lr", "0.1,0.2"), ("data-seed", "0..99")];
        let error = axes(&twice.map(|(path, given)| (path.to_owned(), given.to_owned()))).unwrap_err().to_string();
        assert!(error.contains("the grid has 20000 runs"), "{error}");
    }

    #[test]
    fn values_of_one_key_add_up() {
        let set = [("seed", "0,1"), ("local.lr", "0.1"), ("seed", "5")];
        let axes = axes(&set.map(|(path, given)| (path.to_owned(), given.to_owned()))).unwrap();
        assert_eq!((axes.len(), axes[0].values.join(" ")), (2, "0 1 5".to_owned()));
    }

    #[test]
    fn values_reach_the_experiment_as_text_of_its_own_type() {
        let cases =
            [("local.lr", "0.1"), ("seed", "18446744073709551615"), ("data.label", "3"), ("model-options.a", "3")];
        let expected = ["0.10000000149011612", "\"18446744073709551615\"", "\"3\"", "\"3\""];
        assert_eq!(cases.map(|(path, value)| toml_of(path, value)), expected);
    }
}
