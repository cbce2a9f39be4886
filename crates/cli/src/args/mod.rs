//! The command line as types for clap. The work is in `commands`.
//!
//! [`parse`] turns the arguments into a [`Command`].

pub(crate) mod argument_error;
pub(crate) mod baselines_args;
pub(crate) mod config_args;
pub(crate) mod experiment_args;
pub(crate) mod flower_args;
pub(crate) mod grid_args;
pub(crate) mod list_args;
pub(crate) mod new_model_args;
pub(crate) mod result_args;
pub(crate) mod run_args;
pub(crate) mod runs_args;
pub(crate) mod serve_args;
pub(crate) mod show_args;
pub(crate) mod sweep_args;
#[cfg(test)]
mod tests;
mod value;

use std::{ffi::OsString, path::PathBuf};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use fedpipe_host::Level;

use crate::{
    args::{
        baselines_args::BaselinesArgs,
        config_args::{ConfigArgs, InitArgs},
        flower_args::FlowerCommand,
        list_args::ListArgs,
        new_model_args::NewModelArgs,
        result_args::{EvaluateArgs, ExportArgs, PredictArgs, ReportArgs, WatchArgs},
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
    /// Run an experiment beside local-only and centralised training at the same budget
    Baselines(BaselinesArgs),
    /// List the runs in a folder
    Runs(RunsArgs),
    /// Compare runs and sweeps, in tables and in a picture
    Compare(CompareArgs),
    /// Write an experiment.toml with every key explained
    Init(InitArgs),
    /// List the keys of an experiment, or explain one
    Config(ConfigArgs),
    /// Repeat a run, or each run of a sweep, from its own directory and compare the bits of every round
    Verify {
        /// A run directory, or the folder of a sweep
        run: PathBuf,
        /// The isolation that the kernel enforces on clients: require, auto, off [default: that of the run]
        #[arg(long, value_name = "LEVEL", value_parser = level())]
        isolation: Option<Level>,
    },
    /// Score the final weights of a run on its test set, or on other data
    Evaluate(EvaluateArgs),
    /// Apply the final weights of a run to images, tables and arrays
    Predict(PredictArgs),
    /// Write the final weights of a run as a safetensors file, for another program or for --init-from
    Export(ExportArgs),
    /// Draw report.html, the pictures and metrics.csv of a run again, with examples of mistakes
    Report(ReportArgs),
    /// Follow a run that is in progress, from its directory alone
    Watch(WatchArgs),
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
    /// Check this machine, its limits, locks, cache and models, with remedies
    Doctor,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages, one for each command
    Man {
        /// The folder of the pages, such as ~/.local/share/man/man1; it is made if it does not exist
        directory: PathBuf,
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

/// Returns the command line as a value, from which clap generates completions and man pages.
pub(crate) fn command_line() -> clap::Command {
    Cli::command()
}
