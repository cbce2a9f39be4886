//! `fedpipe runs`: lists the runs in a folder, as a table, as JSON or with commas.

use std::{
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use fedpipe_host::{Error, Result, is_at_work};
use fedpipe_record::{
    configuration::differing,
    measure::Measure,
    run_overview::{RunOverview, RunStatus, runs_in},
};
use fedpipe_report::comparison::short;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};
use strum::IntoEnumIterator;

use crate::{
    args::runs_args::RunsArgs,
    inputs::condition::{Condition, name, order, value_of},
    screen::{
        output::{print_error, print_result},
        sweep_text::{head, number, times},
        text_table::{Column, lines},
    },
};

/// Lists the runs that `args` describe.
pub(crate) fn list_runs(args: &RunsArgs) -> Result<ExitCode> {
    let folder = args.directory.as_path();
    let mut runs = read_runs(folder, folder, &args.conditions)?;
    runs.sort_by(|a, b| {
        let [a, b] = [a, b].map(|run| value_of(run, &args.sort, folder));
        order(a.as_deref(), b.as_deref())
    });
    if args.reverse {
        runs.reverse();
    }
    let text = match (args.json, args.csv) {
        (true, _) => json_text(&runs, folder)?,
        (_, true) => csv_text(&runs, folder)?,
        _ => table(&runs, folder, &args.columns).join("\n"),
    };
    print_result(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the runs in `directory` that meet the conditions. A run whose ledger cannot be read is named and left out.
///
/// # Errors
/// [`Error::Output`] for a folder that is not there.
pub(crate) fn read_runs(directory: &Path, folder: &Path, conditions: &[Condition]) -> Result<Vec<RunOverview>> {
    if !directory.is_dir() {
        let shown = directory.display();
        return Err(Error::Output(format!("there is no folder {shown}; give the folder of some runs")));
    }
    let mut runs = Vec::new();
    for path in runs_in(directory) {
        match RunOverview::read(&path) {
            Ok(mut run) => {
                if run.state == RunStatus::Interrupted && is_at_work(&path) {
                    run.state = RunStatus::Running;
                }
                runs.push(run);
            }
            Err(error) => print_error(format_args!("warning: {} is left out: {error}", path.display())),
        }
    }
    runs.retain(|run| conditions.iter().all(|condition| condition.is_met_by(run, folder)));
    Ok(runs)
}

fn table(runs: &[RunOverview], folder: &Path, more: &[String]) -> Vec<String> {
    let mut columns = vec![
        Column::left("name"),
        Column::left("when"),
        Column::left("strategy"),
        Column::right("clients"),
        Column::right("rounds"),
        Column::left("state"),
    ];
    columns.extend(more.iter().map(|path| Column::left(short(path))));
    let is_real = |run: &RunOverview| run.last(Measure::Rmse).or(run.last(Measure::PersonalRmse)).is_some();
    let score = if runs.iter().any(is_real) { "accuracy or RMSE" } else { "accuracy" };
    columns.push(Column::right(score));
    let times = times(runs.iter(), &[Measure::RoundsToTarget]);
    columns.extend(times.iter().map(|time| Column::right(head(*time))));
    let row = |run: &RunOverview| {
        let strategy = run.configuration.get("strategy").unwrap_or_default().to_owned();
        let mut cells = vec![
            name(run, folder),
            run.began.map_or_else(String::new, local_time),
            strategy,
            run.clients.to_string(),
            run.rounds.len().to_string(),
            run.state.to_string(),
        ];
        cells.extend(more.iter().map(|path| value_of(run, path, folder).unwrap_or_default()));
        cells.push(score_of(run).unwrap_or_default());
        cells.extend(times.iter().map(|time| run.last(*time).map_or_else(String::new, |value| number(*time, value))));
        cells
    };
    lines(&columns, &runs.iter().map(row).collect::<Vec<_>>())
}

/// Returns the last score of a run: the accuracy, the RMSE, or that of the clients' own models.
fn score_of(run: &RunOverview) -> Option<String> {
    let scores =
        [(Measure::Accuracy, ""), (Measure::Rmse, ""), (Measure::Personal, "own "), (Measure::PersonalRmse, "own ")];
    scores.into_iter().find_map(|(measure, whose)| {
        let unit = if measure.is_percent() { " %" } else { "" };
        Some(format!("{whose}{}{unit}", number(measure, run.last(measure)?)))
    })
}

/// Returns a time in the zone of the user.
fn local_time(time: SystemTime) -> String {
    let zoned = Timestamp::try_from(time).map(|time| time.to_zoned_datetime(TimeZone::system()));
    zoned.map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn utc(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok().map(|time| time.to_string())
}

/// Returns the fields of a run that are no keys of its experiment, in the order of a table.
fn fields(run: &RunOverview, folder: &Path) -> Vec<(String, Value)> {
    let facts = [
        ("name", json!(name(run, folder))),
        ("directory", json!(run.directory)),
        ("when", json!(run.began.and_then(utc))),
        ("state", json!(run.state)),
        ("failure", json!(run.failure)),
        ("model", json!(run.model)),
        ("strategy", json!(run.configuration.get("strategy"))),
        ("clients", json!(run.clients)),
        ("rounds", json!(run.rounds.len())),
        ("seed", json!(run.seeds[0])),
    ];
    let result = |measure: Measure| {
        let value = match measure {
            Measure::RoundsToTarget => json!(run.target.as_ref().and_then(|target| target.round)),
            _ => json!(run.last_share(measure)),
        };
        (measure.to_string().replace('-', "_"), value)
    };
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
    let weights = ("weights_sha256".to_owned(), json!(run.weights_sha256));
    facts.chain(Measure::iter().map(result)).chain([weights]).collect()
}

fn json_text(runs: &[RunOverview], folder: &Path) -> Result<String> {
    let row = |run: &RunOverview| {
        let mut fields: Map<String, Value> = fields(run, folder).into_iter().collect();
        let experiment: Map<String, Value> =
            run.configuration.iter().map(|(path, value)| (path.to_owned(), Value::from(value))).collect();
        fields.insert("experiment".to_owned(), Value::Object(experiment));
        Value::Object(fields)
    };
    let rows: Vec<Value> = runs.iter().map(row).collect();
    serde_json::to_string_pretty(&rows).map_err(|error| Error::System(error.into()))
}

/// Returns a table with commas: the fields of each run, and the keys in which the experiments differ.
fn csv_text(runs: &[RunOverview], folder: &Path) -> Result<String> {
    const SHOWN: [&str; 3] = ["seed", "strategy", "clients.count"];
    let keys = differing(runs.iter().map(|run| &run.configuration));
    let keys: Vec<&String> = keys.iter().filter(|key| !SHOWN.contains(&key.as_str())).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = || -> anyhow::Result<()> {
        for (place, run) in runs.iter().enumerate() {
            let fields = fields(run, folder);
            if place == 0 {
                writer.write_record(
                    fields.iter().map(|(field, _)| field.as_str()).chain(keys.iter().map(|key| key.as_str())),
                )?;
            }
            let text = |value: &Value| match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let own = keys.iter().map(|key| run.value(key).unwrap_or_default());
            writer.write_record(fields.iter().map(|(_, value)| text(value)).chain(own))?;
        }
        Ok(())
    };
    write().map_err(Error::System)?;
    let bytes = writer.into_inner().map_err(|error| Error::System(anyhow::anyhow!("{error}")))?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
