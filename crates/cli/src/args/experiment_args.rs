//! The flags that are keys of an experiment. Each is made from its key, so that a new key needs no line here.

use std::{fmt, marker::PhantomData};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches,
    builder::{PossibleValuesParser, StringValueParser, TypedValueParser, ValueParser},
};
use fedpipe_record::{experiment::Experiment, experiment_key::ExperimentKey, key_value::Arity};
use toml::{Table, Value};

/// The flags that were given, with their values.
#[derive(Debug)]
pub(crate) struct ExperimentArgs {
    given: Vec<(ExperimentKey, Vec<Value>)>,
}

impl ExperimentArgs {
    /// Returns no flags.
    pub(crate) fn none() -> Self {
        Self { given: Vec::new() }
    }

    /// Returns `true` if the flag with this name was given.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.given.iter().any(|(key, _)| key.id() == id)
    }

    /// Returns the keys whose flags were given.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ExperimentKey> {
        self.given.iter().map(|(key, _)| key)
    }

    /// Lays the values over the table of an experiment.
    pub(crate) fn overlay(&self, table: &mut Table) {
        for (key, values) in &self.given {
            for value in values {
                insert(key, value.clone(), table);
            }
        }
    }
}

/// Sets a key in the table of an experiment. Entries are added to those that the table has.
pub(crate) fn insert(key: &ExperimentKey, value: Value, table: &mut Table) {
    let section = match key.section {
        "" => Some(table),
        section => sub_table(section, table),
    };
    let Some(section) = section else { return };
    match (key.arity, value) {
        (Arity::Entries, Value::Table(entries)) => {
            if let Some(known) = sub_table(&key.name, section) {
                known.extend(entries);
            }
        }
        (_, value) => drop(section.insert(key.name.clone(), value)),
    }
}

/// Returns a table in a table; `None` if there is a value of another type, which the reader refuses.
fn sub_table<'t>(name: &str, table: &'t mut Table) -> Option<&'t mut Table> {
    table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

impl Args for ExperimentArgs {
    fn augment_args(command: Command) -> Command {
        command.args(Experiment::keys().iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ExperimentArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = Experiment::keys().into_iter().filter_map(|key| values(&key, matches).map(|values| (key, values)));
        Ok(Self { given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Some of the keys of an experiment.
pub(crate) trait KeyChoice: fmt::Debug {
    /// Returns `true` for a key that is a flag.
    fn includes(key: &ExperimentKey) -> bool;

    /// Returns the flag of a key as the command takes it.
    fn adapt(argument: Arg) -> Arg {
        argument
    }
}

/// The keys that decide a deal.
#[derive(Debug)]
pub(crate) struct DealKeys;

impl KeyChoice for DealKeys {
    fn includes(key: &ExperimentKey) -> bool {
        key.section == "data" || ["clients", "seed", "data-seed"].contains(&key.id())
    }
}

/// The keys that say how the files of one client are read. The others of a deal are the run's alone.
#[derive(Debug)]
pub(crate) struct ServedKeys;

impl KeyChoice for ServedKeys {
    fn includes(key: &ExperimentKey) -> bool {
        key.section == "data" && !["partition", "test-split", "standardise", "holdout-clients"].contains(&key.id())
    }

    fn adapt(argument: Arg) -> Arg {
        if argument.get_id() == DATA {
            return argument
                .help("Files instead, or a dataset's name (see `fedpipe data list`): all training examples, and the test set")
                .conflicts_with_all(["partition", "test", "experiment", "client"]);
        }
        argument.requires(DATA)
    }
}

/// The key of the dataset.
const DATA: &str = "data";

/// The flags of some of the keys of an experiment.
#[derive(Debug)]
pub(crate) struct ChosenArgs<C> {
    pub(crate) args: ExperimentArgs,
    choice: PhantomData<C>,
}

impl<C: KeyChoice> ChosenArgs<C> {
    fn keys() -> impl Iterator<Item = ExperimentKey> {
        Experiment::keys().into_iter().filter(C::includes)
    }
}

impl<C: KeyChoice> Args for ChosenArgs<C> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::keys().map(|key| C::adapt(argument(&key))))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<C: KeyChoice> FromArgMatches for ChosenArgs<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = Self::keys().filter_map(|key| values(&key, matches).map(|values| (key, values)));
        Ok(Self { args: ExperimentArgs { given: given.collect() }, choice: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the values of a flag; `None` if it was not given.
fn values(key: &ExperimentKey, matches: &ArgMatches) -> Option<Vec<Value>> {
    if key.arity == Arity::Switch {
        return matches.get_flag(key.id()).then(|| vec![Value::Boolean(true)]);
    }
    matches.get_many::<Value>(key.id()).map(|values| values.cloned().collect())
}

/// Returns the flag of a key.
fn argument(key: &ExperimentKey) -> Arg {
    let default = key.default.as_ref().map_or_else(String::new, |default| format!(" [default: {default}]"));
    let heading = if key.section.is_empty() { "Experiment".into() } else { format!("Experiment, [{}]", key.section) };
    let mut argument = Arg::new(key.id().to_owned()).help(key.help.clone() + &default).action(match key.arity {
        Arity::Value => ArgAction::Set,
        Arity::Switch => ArgAction::SetTrue,
        Arity::Entries => ArgAction::Append,
    });
    if let Some(excluded) = key.excluded {
        argument = argument.conflicts_with(excluded);
    }
    if key.arity != Arity::Switch {
        argument = argument.value_name(key.value_name()).value_parser(parser(key)).hide_possible_values(true);
    }
    match key.long() {
        Some(long) => argument.long(long).help_heading(heading),
        None => argument.required_unless_present_any(["client", "config", "resume"]),
    }
}

fn parser(key: &ExperimentKey) -> ValueParser {
    let (key, choices) = (key.clone(), key.choices);
    let read = move |text: String| key.read(&text);
    if choices.is_empty() {
        StringValueParser::new().try_map(read).into()
    } else {
        PossibleValuesParser::new(choices).try_map(read).into()
    }
}
