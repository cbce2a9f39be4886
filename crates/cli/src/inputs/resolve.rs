//! Resolves the command line to an experiment. The order, each overriding the one before it: defaults, `--config` or
//! the file of the resumed run, flags, `--set`.

use std::path::{Path, PathBuf};

use fedpipe_data::{Cache, Source, natural_clients, pin_split};
use fedpipe_host::{Error, Result};
use fedpipe_record::{
    availability::Availability,
    digest::bytes_sha256,
    experiment::Experiment,
    experiment_key::ExperimentKey,
    file::read_regular,
    format::{Format, check_table},
    key_names::{check_keys, key_at},
    run_folder::check_holds_run,
};
use toml::{Table, Value};

use crate::{
    args::{
        experiment_args::{ExperimentArgs, insert},
        run_args::RunArgs,
    },
    screen::data_progress::DataProgress,
};

/// Returns the experiment that `args` describe.
///
/// # Errors
/// Returns [`Error::Usage`] for a key or value that no experiment has, or that has no effect.
pub(crate) fn resolve(args: &RunArgs) -> Result<Experiment> {
    let mut table = base(args)?;
    remove_replaced(&mut table, args);
    let file = args.config.as_ref().map(|_| table.clone());
    let was_weighted = is_weighted(&table);
    let is_count_given = is_count_given(&table, args);
    args.experiment.overlay(&mut table);
    args.set.iter().for_each(|(path, value)| set(&mut table, path, value));
    // The file of a run has the weighting that suits its aggregator, also if nobody gave one.
    let is_given = args.experiment.has("weighting") || args.set.iter().any(|(path, _)| path == "strategy.weighting");
    if !is_given && was_weighted.zip(is_weighted(&table)).is_some_and(|(was, is)| was != is) {
        table.get_mut("strategy").and_then(Value::as_table_mut).map(|strategy| strategy.remove("weighting"));
    }
    let is_default_rate = table.get("local").is_none_or(|local| local.get("lr").is_none());
    let mut experiment = Experiment::deserialize_from(table)?;
    if is_default_rate {
        experiment.local.lr = experiment.local.optimiser.default_rate;
    }
    // A later verification may start in another folder.
    if let Source::Path(path) = &mut experiment.data.source {
        *path = absolute(path);
    }
    experiment.data.test_data = experiment.data.test_data.map(|path| absolute(Path::new(&path)).display().to_string());
    settle_partition(&mut experiment, is_count_given)?;
    pin_initial_file(&mut experiment)?;
    pin_clock(&mut experiment)?;
    read_availability(&mut experiment)?;
    refuse_without_effect(args, file.as_ref(), &experiment)?;
    let experiment = experiment.centralised()?;
    if experiment.model.is_empty() && experiment.client.is_none() {
        return Err(Error::Usage("no model is named; give one, such as mlp, or a --client COMMAND".into()));
    }
    Ok(experiment)
}

/// Returns the absolute path of data that exists.
fn absolute(path: &Path) -> PathBuf {
    let whole = path.exists().then(|| std::path::absolute(path).ok());
    whole.flatten().unwrap_or_else(|| path.to_owned())
}

/// Returns the absolute path of data that a row names. The text of a row has no comma in a value, so that a path below
/// a folder with a comma stays as it is.
fn absolute_in_row(path: &Path) -> PathBuf {
    let whole = absolute(path);
    if whole.display().to_string().contains(',') { path.to_owned() } else { whole }
}

/// Returns `true` if the rules take a weighting; none if the keys are no experiment.
fn is_weighted(table: &Table) -> Option<bool> {
    Experiment::deserialize_from(table.clone()).ok().map(|experiment| experiment.strategy.is_weighted())
}

/// Returns an experiment whose deal the flags describe.
///
/// # Errors
/// Returns the errors of [`resolve`].
pub(crate) fn resolve_deal(args: &ExperimentArgs) -> Result<Experiment> {
    let mut table = of_default()?;
    args.overlay(&mut table);
    let mut experiment = Experiment::deserialize_from(table)?;
    settle_partition(&mut experiment, args.has("clients"))?;
    experiment.check()?;
    Ok(experiment)
}

/// Returns an experiment whose deal gives all training examples of the dataset in the flags to one client.
///
/// # Errors
/// Returns the errors of [`resolve`].
pub(crate) fn resolve_served(args: &ExperimentArgs) -> Result<Experiment> {
    let mut table = of_default()?;
    args.overlay(&mut table);
    set(&mut table, "data.partition", "own");
    set(&mut table, "clients.count", "1");
    let experiment = Experiment::deserialize_from(table)?;
    experiment.check()?;
    Ok(experiment)
}

/// Returns `true` if the number of clients is that of the user. The number in a file belongs to the partition in it.
fn is_count_given(file: &Table, args: &RunArgs) -> bool {
    let is_given = |id: &str, path: &str| args.experiment.has(id) || args.set.iter().any(|(set, _)| set == path);
    let is_in_file = file.get("clients").and_then(|clients| clients.get("count")).is_some();
    is_given("clients", "clients.count") || is_in_file && !is_given("partition", "data.partition")
}

/// Adds the hash of a split by hand. A split by hand and natural clients decide the number of clients, unless the user
/// gives one.
fn settle_partition(experiment: &mut Experiment, is_count_given: bool) -> Result<()> {
    let mut decided = None;
    if let Some(directory) = experiment.data.partition.directory() {
        let text = format!("files:dir={}", absolute_in_row(directory).display());
        experiment.data.partition = text.parse().map_err(|error| Error::Usage(format!("{error}")))?;
    }
    if let Some((scheme, clients)) = pin_split(&experiment.data.partition)? {
        experiment.data.partition = scheme;
        decided = Some(clients);
    } else if experiment.data.partition.is_natural() && !is_count_given {
        let mut progress = DataProgress::new(false);
        let clients = natural_clients(&experiment.deal(), &Cache::user()?, &mut |step| progress.show(&step));
        progress.clear();
        decided = Some(clients?);
    }
    if let Some(clients) = decided.filter(|_| !is_count_given) {
        experiment.clients.count = clients;
    }
    Ok(())
}

/// Adds the hash of the file of initial weights.
fn pin_initial_file(experiment: &mut Experiment) -> Result<()> {
    let Some(file) = experiment.init_from.as_mut().filter(|file| file.sha256.is_empty()) else { return Ok(()) };
    let unreadable = |error| Error::Usage(format!("cannot read --init-from {}: {error}", file.path.display()));
    file.sha256 = bytes_sha256(&read_regular(&file.path).map_err(unreadable)?);
    file.path = absolute(&file.path);
    Ok(())
}

/// Adds the hash of the file that the clock reads.
fn pin_clock(experiment: &mut Experiment) -> Result<()> {
    let Some(clock) = &experiment.time.clock else { return Ok(()) };
    let Some(file) = clock.trace_file().filter(|file| !file.is_pinned()) else { return Ok(()) };
    let unreadable = |error| Error::Usage(format!("cannot read the file of --clock {clock}: {error}"));
    let bytes = read_regular(&file.path).map_err(unreadable)?;
    let refused = |why| Error::Usage(format!("--clock {clock}: {why}"));
    let trace = String::from_utf8_lossy(&bytes);
    clock.clients(experiment.sample_seed(), experiment.clients.count, &trace).map_err(refused)?;
    let pinned = clock.pinned(&absolute_in_row(&file.path), &bytes_sha256(&bytes));
    experiment.time.clock = Some(pinned.map_err(|error| Error::Usage(format!("{error}")))?);
    Ok(())
}

/// Reads the trace of the clients' availability, if the experiment names its file.
fn read_availability(experiment: &mut Experiment) -> Result<()> {
    let Some(Availability::File(path)) = &experiment.clients.availability else { return Ok(()) };
    let shown = path.display();
    let unreadable = |why: String| Error::Usage(format!("cannot read --availability {shown}: {why}"));
    let bytes = read_regular(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    experiment.clients.availability = Some(Availability::of_csv(&shown.to_string(), &text).map_err(Error::Usage)?);
    Ok(())
}

/// Reads the experiment in a file, without defaults that depend on other keys.
///
/// # Errors
/// Returns the errors of [`resolve`].
pub(crate) fn read_experiment(path: &Path) -> Result<Experiment> {
    let experiment = Experiment::deserialize_from(read_table(path)?)?;
    experiment.check()?;
    Ok(experiment)
}

/// Returns the keys that the flags are laid over.
fn base(args: &RunArgs) -> Result<Table> {
    // A resumed run has its own experiment; the host refuses flags that differ from it, by name.
    let recorded = args.resume.as_ref().map(|run| run.join("experiment.toml"));
    let Some(path) = args.config.as_ref().or(recorded.as_ref()) else { return of_default() };
    args.resume.as_deref().map_or(Ok(()), check_holds_run)?;
    let of_run = |error| match error {
        Error::Usage(why) if args.resume.is_some() => Error::Output(why),
        error => error,
    };
    let table = read_table(path).map_err(of_run)?;
    if let Some(run) = &args.resume
        && let Ok(written) = Experiment::deserialize_from(table.clone())
        && let Some(current) = fedpipe_host::under_way(run, &written)
    {
        return Table::try_from(&current).map_err(|error| Error::Usage(error.to_string()));
    }
    Ok(table)
}

/// Returns a table without keys.
fn of_default() -> Result<Table> {
    let format = Value::try_from(Format).map_err(|error| Error::Usage(error.to_string()))?;
    Ok(Table::from_iter([("format".to_owned(), format)]))
}

fn read_table(path: &Path) -> Result<Table> {
    let usage = |error: String| Error::Usage(format!("cannot use {}: {error}", path.display()));
    let bytes = read_regular(path).map_err(|error| usage(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| usage(error.to_string()))?;
    let table = text.parse().map_err(|error: toml::de::Error| usage(error.message().to_owned()))?;
    check_table(&table).and_then(|()| check_keys(&text)).map_err(|error| usage(error.to_string()))?;
    Ok(table)
}

/// Refuses a key that was given and changes nothing in this experiment: by a flag, or by `--set` or a `file` with
/// another value than the default. A flag may leave a key of the file without effect, since flags replace what the file
/// says. An app of Flower gives all keys by `--set`.
fn refuse_without_effect(args: &RunArgs, file: Option<&Table>, experiment: &Experiment) -> Result<()> {
    let [resolved, default] = [experiment, &Experiment::default()].map(|of| Table::try_from(of).unwrap_or_default());
    let set = args.set.iter().filter_map(|(path, _)| key_at(path));
    let set = set.filter(|key| key.find(&resolved) != key.find(&default));
    let given: Vec<ExperimentKey> = args.experiment.keys().cloned().chain(set).collect();
    // The baseline `centralised` leaves out what the file says about the clients of a federation.
    let file = file.filter(|_| !experiment.strategy.is_centralised());
    let alone = file.and_then(|file| Experiment::deserialize_from(file.clone()).ok());
    let idle_in_file = alone.map_or_else(Vec::new, |of_file| of_file.idle_keys());
    let keys = Experiment::keys();
    let is_written = |flag: &str| {
        let key = keys.iter().find(|key| key.id() == flag);
        let (value, default) =
            key.map_or((None, None), |key| (file.and_then(|file| key.find(file)), key.find(&default)));
        value.is_some() && value != default
    };
    let has = |flag: &str| given.iter().any(|key| key.id() == flag);
    let mut idle = experiment.idle_keys();
    // A limit in a file is for the clients of this machine.
    let nodes = "clients elsewhere (--over), which their own machines confine (fedpipe serve)";
    let limits = ["memory-limit", "cpu-limit"].into_iter().filter(|limit| args.over.is_some() && has(limit));
    idle.extend(limits.map(|limit| (limit, nodes.to_owned())));
    let is_given =
        |flag: &str| has(flag) || is_written(flag) && idle_in_file.iter().any(|(of_file, _)| *of_file == flag);
    let Some((flag, run)) = idle.iter().find(|(flag, _)| is_given(flag)) else { return Ok(()) };
    let is_limit = *flag == "rounds" && !has("max-rounds") && !is_written("max-rounds");
    let remedy = if is_limit { format!("give --max-rounds {}", experiment.rounds) } else { "leave it out".to_owned() };
    let why = format!("--{flag} has no effect on {run}; {remedy}");
    match &args.config {
        Some(path) if !has(flag) => Err(Error::Usage(format!("cannot use {}: {why}", path.display()))),
        _ => Err(Error::Usage(why)),
    }
}

/// Removes the keys of a file that a flag or a `--set` replaces.
fn remove_replaced(table: &mut Table, args: &RunArgs) {
    let keys = Experiment::keys();
    let is_set = |key: &&ExperimentKey| args.set.iter().any(|(path, _)| *path == key.path());
    for key in args.experiment.keys().chain(keys.iter().filter(is_set)) {
        if key.replaces_section {
            table.remove(key.section);
        }
        let excluded = keys.iter().find(|other| key.replaces_excluded && key.excluded == Some(other.id()));
        if let Some(excluded) = excluded {
            let section = table.get_mut(excluded.section).and_then(Value::as_table_mut);
            match section {
                Some(section) => section.remove(&excluded.name),
                None => table.remove(&excluded.name),
            };
        }
    }
}

/// Sets the key at `path` to a TOML value, or to text if `text` is no TOML value.
fn set(table: &mut Table, path: &str, text: &str) {
    let value = format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    match key_at(path) {
        Some(key) if key.path() == path => insert(&key, value, table),
        // An entry, which is text whatever it looks like.
        Some(key) => {
            let text = value.as_str().map_or_else(|| text.to_owned(), str::to_owned);
            let name = path.strip_prefix(&format!("{}.", key.path())).unwrap_or(path).to_owned();
            insert(&key, Value::Table(Table::from_iter([(name, Value::String(text))])), table);
        }
        // The key `format` is none of an experiment's, and the reader looks at it.
        None => drop(table.insert(path.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests;
