//! `fedpipe flower`: an app for Flower, which carries a federation past one machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use fedpipe_host::{Error, Result};
use fedpipe_record::experiment::Experiment;

use crate::{args::RunArgs, experiment, output::print_result};

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../python/fedpipe/flower/", $name))
    };
}

const PYPROJECT: &str = template!("template/pyproject.toml");
const APP: &str = template!("template/fedpipe_app.py");
/// Where Flower is pinned: the first line.
const REQUIREMENTS: &str = template!("requirements.txt");

#[derive(Debug, Subcommand)]
pub(crate) enum FlowerCommand {
    /// Write a Flower app that runs an experiment, given as for `fedpipe run`
    #[command(allow_negative_numbers = true)]
    New {
        /// A folder that is not there yet
        directory: PathBuf,
        #[command(flatten)]
        run: Box<RunArgs>,
    },
}

/// Writes the app and the experiment that its nodes deal by.
pub(crate) fn new(directory: &Path, args: &RunArgs) -> Result<ExitCode> {
    let experiment = experiment::resolve(args)?;
    experiment.check()?;
    let written = write(directory, &experiment);
    written.map_err(|error| Error::Output(format!("cannot write the app to {}: {error}", directory.display())))?;
    print_result(format_args!("the app is in {}; `flwr run {0}` runs it", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path, experiment: &Experiment) -> anyhow::Result<()> {
    let flower = REQUIREMENTS.lines().next().unwrap_or_default();
    let text = toml::to_string(experiment)?;
    // The keys of a table of the experiment's are the app's own table's.
    let config = text.replace("\n[", "\n[tool.flwr.app.config.");
    fs::create_dir(directory)?;
    fs::write(directory.join("pyproject.toml"), PYPROJECT.replace("FLWR", flower) + &config)?;
    fs::write(directory.join("fedpipe_app.py"), APP)?;
    fs::write(directory.join("experiment.toml"), text)?;
    Ok(())
}
