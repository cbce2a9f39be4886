//! The command line as types for clap. The work is in `commands`.
//!
//! [`parse`] turns the arguments into a [`Command`].

pub(crate) mod argument_error;
pub(crate) mod config_args;
pub(crate) mod experiment_args;
pub(crate) mod flower_args;
pub(crate) mod list_args;
pub(crate) mod new_model_args;
pub(crate) mod run_args;
pub(crate) mod runs_args;
pub(crate) mod serve_args;
pub(crate) mod show_args;
pub(crate) mod sweep_args;
#[cfg(test)]
mod tests;
mod value;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};
use fedpipe_host::Level;

use crate::{
    args::{
        config_args::{ConfigArgs, InitArgs},
        flower_args::FlowerCommand,
        list_args::ListArgs,
        new_model_args::NewModelArgs,
        run_args::RunArgs,
        runs_args::{CompareArgs, RunsArgs},
        serve_args::ServeArgs,
        show_args::ShowArgs,
        sweep_args::SweepArgs,
        value::level,
    },
    exit,
};

#[derive(Debug, Parser)]
#[command(name = "fedpipe", version, about = "Federated learning on one machine with real processes")]
#[command(after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command of `fedpipe` with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model in a federation
    // With this setting, -1 is a bad number and not an unknown flag.
    #[command(allow_negative_numbers = true)]
    Run(Box<RunArgs>),
    /// Run an experiment with each combination of some values
    Sweep(SweepArgs),
    /// List the runs in a folder
    Runs(RunsArgs),
    /// Compare runs and sweeps, in tables and in a picture
    Compare(CompareArgs),
    /// Write an experiment.toml with every key explained
    Init(InitArgs),
    /// List the keys of an experiment, or explain one
    Config(ConfigArgs),
    /// Repeat a run from its own directory and compare the bits of every round
    Verify {
        /// A run directory
        run: PathBuf,
        /// The isolation that the kernel enforces on clients: require, auto, off [default: that of the run]
        #[arg(long, value_name = "LEVEL", value_parser = level())]
        isolation: Option<Level>,
    },
    /// Make a run load its model's dylib again at the next round, if the layout is the same
    Reload {
        /// The directory of a run that is in progress
        run: PathBuf,
    },
    /// Serve one client on a Unix socket, for a federation whose host is elsewhere (Flower)
    Serve(ServeArgs),
    /// Go beyond one machine, with Flower
    #[command(subcommand)]
    Flower(FlowerCommand),
    /// List the models that are found, with their versions and options
    Models {
        /// Describe this client of your own instead, given as for `fedpipe run`
        #[arg(long, value_name = "COMMAND")]
        client: Option<String>,
    },
    /// Write the crate of a model of your own, with tests, which builds and trains at once
    NewModel(NewModelArgs),
    // A command for each table.
    #[command(flatten)]
    List(ListArgs),
    /// Manage datasets
    #[command(subcommand)]
    Data(DataCommand),
}

/// A command of `fedpipe data`.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the datasets by name, and the files of your own that --data takes
    List,
    /// Put a dataset into the cache, from the first source that has it
    Fetch {
        /// The dataset's name
        #[arg(value_parser = ["fashion-mnist"])]
        name: String,
    },
    /// Show the partitions of a dataset: examples by client and class, and a picture
    #[command(allow_negative_numbers = true)]
    Show(Box<ShowArgs>),
}

/// Parses `arguments`, of which the first is the name of the process.
///
/// # Errors
/// Refused arguments, and requests for help or for the version.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Command, clap::Error> {
    Cli::try_parse_from(arguments).map(|cli| cli.command)
}
