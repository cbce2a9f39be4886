//! From the command line to an experiment: defaults, then `--config` (or the resumed run's own), then flags, then `--set`.

use std::path::Path;

use fedpipe_data::Source;
use fedpipe_host::{Error, Result};
use fedpipe_record::experiment::Experiment;
use toml::{Table, Value};

use crate::args::RunArgs;

/// The experiment that `args` ask for.
///
/// # Errors
/// [`Error::Usage`] for a key or value that an experiment has not.
pub(crate) fn resolve(args: &RunArgs) -> Result<Experiment> {
    // A resumed run is under its own experiment; flags that differ from it are refused by name later.
    let recorded = args.resume.as_ref().map(|run| run.join("experiment.toml"));
    let mut table = match args.config.as_ref().or(recorded.as_ref()) {
        None => Table::new(),
        Some(path) => table_in(path)?,
    };
    if let Some(run) = &args.resume
        && let Ok(written) = Experiment::deserialize_from(table.clone())
        && let Some(under_way) = fedpipe_host::under_way(run, &written)
    {
        table = Table::try_from(&under_way).map_err(|error| Error::Usage(error.to_string()))?;
    }
    overlay(&mut table, args);
    for (key, value) in &args.set {
        set(&mut table, key, value)?;
    }
    let is_default_rate = !table.contains_key("lr");
    let mut experiment = Experiment::deserialize_from(table)?;
    if is_default_rate {
        experiment.lr = experiment.optimiser.default_rate();
    }
    if let Source::Directory(directory) = &mut experiment.data
        && directory.is_dir()
    {
        // A verification may be asked for in another folder.
        *directory = std::path::absolute(&*directory).unwrap_or_else(|_| directory.clone());
    }
    refuse_without_effect(args, &experiment)?;
    match experiment.model.is_empty() && experiment.client.is_none() {
        true => Err(Error::Usage("no model is named; give one, such as mlp, or a --client COMMAND".into())),
        false => Ok(experiment),
    }
}

/// Refuses what was asked for and would change nothing under this experiment.
fn refuse_without_effect(args: &RunArgs, experiment: &Experiment) -> Result<()> {
    let set = |key: &str| args.set.iter().any(|(name, _)| name == key);
    let (converges, is_elsewhere) = (experiment.until_converged, args.over.is_some());
    let until = "a run with --until-converged";
    let number = "a run of a number of --rounds";
    let nodes = "clients elsewhere (--over), which their own machines confine (fedpipe serve)";
    let without_effect = [
        ("rounds", converges && args.rounds.is_some(), until),
        ("max-rounds", !converges && (args.max_rounds.is_some() || set("max-rounds")), number),
        ("tolerance", !converges && (args.tolerance.is_some() || set("tolerance")), number),
        ("memory-limit", is_elsewhere && (args.memory_limit.is_some() || set("memory-limit")), nodes),
        ("cpu-limit", is_elsewhere && (args.cpu_limit.is_some() || set("cpu-limit")), nodes),
    ];
    match without_effect.iter().find(|(_, given, _)| *given) {
        Some((name, _, what)) => Err(Error::Usage(format!("--{name} has no effect on {what}; leave it out"))),
        None => Ok(()),
    }
}

/// The experiment in a file, as it is.
///
/// # Errors
/// As for [`resolve`].
pub(crate) fn read(path: &Path) -> Result<Experiment> {
    let experiment = Experiment::deserialize_from(table_in(path)?)?;
    experiment.check()?;
    Ok(experiment)
}

fn table_in(path: &Path) -> Result<Table> {
    let usage = |error: String| Error::Usage(format!("cannot use {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| usage(error.message().to_owned()))
}

fn overlay(table: &mut Table, args: &RunArgs) {
    // A 64-bit float is what TOML has; the shortest text of an f32 reads back as the same f32.
    let float = |x: f32| x.to_string().parse().map_or(Value::Float(x.into()), Value::Float);
    let text = |value: &dyn std::fmt::Display| Value::String(value.to_string());
    // One replaces the other.
    if args.client.is_some() {
        table.remove("model");
    }
    if args.model.is_some() {
        table.remove("client");
    }
    if args.strategy_program.is_some() {
        table.remove("strategy");
    }
    if args.strategy.is_some() {
        table.remove("strategy-program");
    }
    let flags = [
        ("model", args.model.as_ref().map(|v| text(v))),
        ("client", args.client.as_ref().map(|v| text(v))),
        ("clients", args.clients.map(|v| Value::from(i64::from(v)))),
        ("rounds", args.rounds.map(|v| Value::from(v.cast_signed()))),
        ("until-converged", args.until_converged.then_some(Value::from(true))),
        ("max-rounds", args.max_rounds.map(|v| Value::from(v.cast_signed()))),
        ("tolerance", args.tolerance.map(Value::from)),
        ("seed", args.seed.map(|v| i64::try_from(v).map_or_else(|_| text(&v), Value::from))),
        ("data", args.data.as_ref().map(|v| text(v))),
        ("partition", args.partition.as_ref().map(|v| text(v))),
        ("strategy", args.strategy.as_ref().map(|v| text(v))),
        ("strategy-program", args.strategy_program.as_ref().map(|v| text(v))),
        ("fraction", args.fraction.map(Value::from)),
        ("epochs", args.epochs.map(|v| Value::from(v.cast_signed()))),
        ("batch-size", args.batch_size.map(|v| Value::from(v.cast_signed()))),
        ("lr", args.lr.map(float)),
        ("optimiser", args.optimiser.as_ref().map(|v| text(v))),
        ("on-failure", args.on_failure.as_ref().map(|v| text(v))),
        ("min-clients", args.min_clients.map(|v| Value::from(i64::from(v)))),
        ("client-timeout", args.client_timeout.map(Value::from)),
        ("processes", args.processes.map(|v| Value::from(i64::from(v)))),
        ("checkpoint-every", args.checkpoint_every.map(|v| Value::from(v.cast_signed()))),
        ("isolation", args.isolation.map(|v| text(&v))),
        ("memory-limit", args.memory_limit.map(|v| text(&v))),
        ("cpu-limit", args.cpu_limit.map(|v| Value::from(v.cast_signed()))),
        ("jobs", args.jobs.map(|v| Value::from(i64::from(v)))),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            table.insert(key.to_owned(), value);
        }
    }
    for (key, value) in &args.model_option {
        let options = table.entry("model-options").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(options) = options {
            options.insert(key.clone(), Value::String(value.clone()));
        }
    }
}

/// Sets a key, in a sub-table where it has a dot, to a TOML value, or to text where it is none.
fn set(table: &mut Table, key: &str, text: &str) -> Result<()> {
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    let Some((outer, inner)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table.entry(outer).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(options) => {
            options.insert(inner.to_owned(), Value::String(text.to_owned()));
            Ok(())
        }
        _ => Err(Error::Usage(format!("--set {key}: {outer:?} has no keys of its own"))),
    }
}
