//! Resolves the command line to an experiment. The order, each overriding the one before it: defaults, `--config` or
//! the file of the resumed run, flags, `--set`.

use std::path::Path;

use fedpipe_data::Source;
use fedpipe_host::{Error, Result};
use fedpipe_record::{experiment::Experiment, file::read_regular};
use toml::{Table, Value};

use crate::args::run_args::{ExperimentArgs, RunArgs};

/// Returns the experiment that `args` describe.
///
/// # Errors
/// [`Error::Usage`] for a key or value that no experiment has, or that has no effect.
pub(crate) fn resolve(args: &RunArgs) -> Result<Experiment> {
    let mut table = base(args)?;
    overlay(&mut table, &args.experiment)?;
    for (key, value) in &args.set {
        set(&mut table, key, value)?;
    }
    let is_default_rate = !table.contains_key("lr");
    let mut experiment = Experiment::deserialize_from(table)?;
    if is_default_rate {
        experiment.lr = experiment.optimiser.default_rate;
    }
    if let Source::Directory(directory) = &mut experiment.data
        && directory.is_dir()
    {
        // A later verification may start in another folder.
        *directory = std::path::absolute(&*directory).unwrap_or_else(|_| directory.clone());
    }
    refuse_without_effect(args, &experiment)?;
    if experiment.model.is_empty() && experiment.client.is_none() {
        return Err(Error::Usage("no model is named; give one, such as mlp, or a --client COMMAND".into()));
    }
    Ok(experiment)
}

/// Reads the experiment in a file, without defaults that depend on other keys.
///
/// # Errors
/// As for [`resolve`].
pub(crate) fn read_experiment(path: &Path) -> Result<Experiment> {
    let experiment = Experiment::deserialize_from(read_table(path)?)?;
    experiment.check()?;
    Ok(experiment)
}

/// Returns the keys that the flags are laid over.
fn base(args: &RunArgs) -> Result<Table> {
    // A resumed run has its own experiment; the host refuses flags that differ from it, by name.
    let recorded = args.resume.as_ref().map(|run| run.join("experiment.toml"));
    let Some(path) = args.config.as_ref().or(recorded.as_ref()) else { return Ok(Table::new()) };
    let table = read_table(path)?;
    if let Some(run) = &args.resume
        && let Ok(written) = Experiment::deserialize_from(table.clone())
        && let Some(current) = fedpipe_host::under_way(run, &written)
    {
        return Table::try_from(&current).map_err(|error| Error::Usage(error.to_string()));
    }
    Ok(table)
}

fn read_table(path: &Path) -> Result<Table> {
    let usage = |error: String| Error::Usage(format!("cannot use {}: {error}", path.display()));
    let bytes = read_regular(path).map_err(|error| usage(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| usage(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| usage(error.message().to_owned()))
}

/// Refuses a flag that changes nothing in this experiment.
fn refuse_without_effect(args: &RunArgs, experiment: &Experiment) -> Result<()> {
    let flags = &args.experiment;
    let is_set = |key: &str| args.set.iter().any(|(name, _)| name == key);
    let converges = experiment.until_converged;
    let is_elsewhere = args.over.is_some();
    let until = "a run with --until-converged";
    let number = "a run of a number of --rounds";
    let nodes = "clients elsewhere (--over), which their own machines confine (fedpipe serve)";
    let without_effect = [
        ("rounds", converges && flags.rounds.is_some(), until),
        ("max-rounds", !converges && (flags.max_rounds.is_some() || is_set("max-rounds")), number),
        ("tolerance", !converges && (flags.tolerance.is_some() || is_set("tolerance")), number),
        ("memory-limit", is_elsewhere && (flags.memory_limit.is_some() || is_set("memory-limit")), nodes),
        ("cpu-limit", is_elsewhere && (flags.cpu_limit.is_some() || is_set("cpu-limit")), nodes),
    ];
    match without_effect.iter().find(|(_, given, _)| *given) {
        Some((name, _, run)) => Err(Error::Usage(format!("--{name} has no effect on {run}; leave it out"))),
        None => Ok(()),
    }
}

/// Lays the flags over `table`.
fn overlay(table: &mut Table, flags: &ExperimentArgs) -> Result<()> {
    // A flag that was given removes the key that it excludes.
    let excluded = [
        ("model", flags.client.is_some()),
        ("client", flags.model.is_some()),
        ("strategy", flags.strategy_program.is_some()),
        ("strategy-program", flags.strategy.is_some()),
    ];
    for (key, _) in excluded.iter().filter(|(_, is_excluded)| *is_excluded) {
        table.remove(*key);
    }
    table.extend(Table::try_from(flags).map_err(|error| Error::Usage(error.to_string()))?);
    for (key, value) in &flags.model_option {
        let options = table.entry("model-options").or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(options) = options {
            options.insert(key.clone(), Value::String(value.clone()));
        }
    }
    Ok(())
}

/// Sets a key to a TOML value, or to text if `text` is no TOML value. A key with a dot is a key of a sub-table.
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::args::{self, Command};

    use super::*;

    fn resolved(line: &str) -> Result<Experiment> {
        let arguments: Vec<_> = ["fedpipe", "run"].into_iter().chain(line.split(' ')).map(Into::into).collect();
        match args::parse(&arguments).unwrap() {
            Command::Run(args) => resolve(&args),
            command => panic!("{command:?}"),
        }
    }

    #[test]
    fn each_flag_reaches_its_key() {
        let experiment = resolved(
            "mlp --clients 7 --rounds 8 --seed 18446744073709551615 --data sample --partition shards:2 \
             --strategy fedadam:rate=0.02 --fraction 0.5 --epochs 9 --batch-size 10 --lr 0.3 --optimiser adam \
             --model-option hidden=3 --on-failure drop --min-clients 2 --client-timeout 11 --processes 3 --jobs 4 \
             --isolation off --memory-limit 2G --cpu-limit 12 --checkpoint-every 13",
        );
        let expected = Experiment {
            model: "mlp".into(),
            client: None,
            model_options: [("hidden".to_owned(), "3".to_owned())].into(),
            data: "sample".parse().unwrap(),
            partition: "shards:2".parse().unwrap(),
            clients: 7,
            fraction: 0.5,
            rounds: 8,
            until_converged: false,
            max_rounds: 200,
            tolerance: 0.02,
            seed: u64::MAX,
            strategy: "fedadam:rate=0.02".parse().unwrap(),
            strategy_program: None,
            epochs: 9,
            batch_size: 10,
            lr: 0.3,
            optimiser: "adam".parse().unwrap(),
            on_failure: fedpipe_record::experiment::OnFailure::Drop,
            min_clients: Some(2),
            client_timeout: 11.0,
            processes: Some(3),
            jobs: Some(4),
            isolation: fedpipe_host::Level::Off,
            memory_limit: Some("2G".parse().unwrap()),
            cpu_limit: Some(12),
            checkpoint_every: 13,
        };
        assert_eq!(experiment.unwrap(), expected);
        let other = resolved("--client true --until-converged --max-rounds 3 --tolerance 0.5 --strategy-program cat");
        let expected = Experiment {
            client: Some("true".into()),
            until_converged: true,
            max_rounds: 3,
            tolerance: 0.5,
            strategy_program: Some("cat".into()),
            ..Experiment::default()
        };
        assert_eq!(other.unwrap(), expected);
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("experiment.toml");
        let text = "model = 'mlp'\nrounds = 7\nclients = 8\nseed = 9\n[model-options]\nhidden = '3'\ndepth = '4'\n";
        std::fs::write(&file, text).unwrap();
        let line = format!(
            "logreg --config {} --clients 5 --seed 6 --set seed=2 --model-option hidden=1 --set model-options.depth=2",
            file.display()
        );
        let experiment = resolved(&line).unwrap();
        assert_eq!((experiment.model.as_str(), experiment.rounds), ("logreg", 7));
        assert_eq!((experiment.clients, experiment.seed), (5, 2));
        assert_eq!(
            experiment.model_options,
            [("depth", "2"), ("hidden", "1")].map(|(k, v)| (k.into(), v.into())).into()
        );
        // A client replaces the model of the file.
        let experiment = resolved(&format!("--config {} --client true", file.display())).unwrap();
        assert_eq!((experiment.model.as_str(), experiment.client.as_deref()), ("", Some("true")));
        // The rate depends on the optimiser, until one is given.
        assert_eq!(resolved("mlp --optimiser adam").unwrap().lr, 0.001);
        assert_eq!(resolved("mlp --optimiser adam --lr 0.1").unwrap().lr, 0.1);
    }

    #[test]
    fn a_flag_without_effect_is_refused_by_name() {
        let cases = [
            ("mlp --max-rounds 3", "--max-rounds has no effect"),
            ("mlp --set tolerance=0.1", "--tolerance has no effect"),
            ("mlp --rounds 3 --set until-converged=true", "--rounds has no effect"),
            ("mlp --over s --memory-limit 1G", "--memory-limit has no effect"),
            ("mlp --over s --set cpu-limit=9", "--cpu-limit has no effect"),
            ("mlp --set seed.key=1 --seed 3", "\"seed\" has no keys of its own"),
            ("mlp --set colour=red", "colour"),
            ("--client true --set client.x=1", "\"client\" has no keys of its own"),
        ];
        for (line, expected) in cases {
            let error = resolved(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
