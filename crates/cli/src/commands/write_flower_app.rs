//! `fedpipe flower new`: writes an app for Flower, which runs a federation on several machines.

use std::{fs, path::Path, process::ExitCode};

use fedpipe_host::{Error, Result};
use fedpipe_record::{
    experiment::{Experiment, StrategySection},
    names::split_file,
};
use fedpipe_strategy::strategy::StrategyRows;
use toml::{Table, Value};

use crate::{args::run_args::RunArgs, inputs::resolve::resolve, screen::output::print_result};

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../python/fedpipe/flower/", $name))
    };
}

const PYPROJECT: &str = template!("template/pyproject.toml");
const APP: &str = template!("template/fedpipe_app.py");
/// The file whose first line pins the version of Flower.
const REQUIREMENTS: &str = template!("requirements.txt");

/// Writes the app, and the experiment from which each node deals its partition.
pub(crate) fn write_flower_app(directory: &Path, args: &RunArgs) -> Result<ExitCode> {
    let experiment = resolve(args)?;
    experiment.check()?;
    let written = write(directory, &experiment);
    written.map_err(|error| Error::Output(format!("cannot write the app to {}: {error}", directory.display())))?;
    print_result(format_args!("the app is in {}; `flwr run {0}` runs it", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path, experiment: &Experiment) -> anyhow::Result<()> {
    let flower = REQUIREMENTS.lines().next().unwrap_or_default();
    let text = toml::to_string(experiment)?;
    // A table of the experiment becomes a table of the app's configuration.
    let config = toml::to_string(&overridable(&text, experiment)?)?.replace("\n[", "\n[tool.flwr.app.config.");
    fs::create_dir(directory)?;
    fs::write(directory.join("pyproject.toml"), PYPROJECT.replace("FLWR", flower) + &config)?;
    fs::write(directory.join("fedpipe_app.py"), APP)?;
    fs::write(directory.join("experiment.toml"), text)?;
    if let Some(file) = experiment.data.partition.split_file() {
        fs::copy(&file.path, directory.join(split_file(&file.sha256)))?;
    }
    Ok(())
}

/// Returns the keys of the experiment in `text` for Flower, which overrides one key at a time. Rows of the strategy
/// that are those of its preset are empty, so that another `strategy.name` has its own rows.
fn overridable(text: &str, experiment: &Experiment) -> anyhow::Result<Table> {
    let rows = StrategyRows { name: experiment.strategy.rules.preset().clone(), ..StrategyRows::default() };
    let preset = Table::try_from(StrategySection { rules: rows.into(), program: None })?;
    let mut table: Table = text.parse()?;
    if let Some(Value::Table(rows)) = table.get_mut("strategy") {
        let same = rows.iter_mut().filter(|(key, row)| *key != "name" && preset.get(key.as_str()) == Some(&**row));
        same.for_each(|(_, row)| *row = Value::String(String::new()));
    }
    Ok(table)
}
