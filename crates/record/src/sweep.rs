//! A sweep: a grid of runs in one folder. `sweep.json` names the runs and their values. Each run has its experiment in
//! `experiments/NAME.toml` before it begins, and then a run directory `NAME`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    configuration::SEEDS,
    error::{Error, Result},
    file::read_regular,
};

/// The file of a sweep.
pub const SWEEP: &str = "sweep.json";

/// The folder of the experiments of a sweep.
const EXPERIMENTS: &str = "experiments";

/// The format that this version reads and writes.
const FORMAT: u64 = 1;

/// A grid of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The format of the file.
    pub format: u64,
    /// The keys of the grid with their values; the last key varies fastest.
    pub axes: Vec<Axis>,
    /// The runs, in the order of the grid.
    pub runs: Vec<SweepRun>,
}

/// A key of the grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// The path of the key, such as `local.lr`.
    pub key: String,
    /// The values, as `--set` takes them.
    pub values: Vec<String>,
}

/// A run of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepRun {
    /// The name of its folder.
    pub name: String,
    /// Its value of each axis.
    pub values: BTreeMap<String, String>,
}

impl Axis {
    /// Returns `true` for a seed: runs that differ in it alone are pooled.
    pub fn is_seed(&self) -> bool {
        SEEDS.contains(&self.key.as_str())
    }
}

impl Sweep {
    /// Returns the sweep of all combinations of the values.
    pub fn new(axes: Vec<Axis>) -> Self {
        let mut points = vec![BTreeMap::new()];
        for axis in &axes {
            let with = |point: &BTreeMap<String, String>, value: &String| {
                let mut point = point.clone();
                point.insert(axis.key.clone(), value.clone());
                point
            };
            points = points.iter().flat_map(|point| axis.values.iter().map(move |value| with(point, value))).collect();
        }
        let run = |(number, values)| SweepRun { name: name(number), values };
        Self { format: FORMAT, axes, runs: points.into_iter().enumerate().map(run).collect() }
    }

    /// Returns the sweep with more values of its keys. Its runs keep their names, and new runs have the next numbers.
    /// A value that the sweep has is left alone.
    ///
    /// # Errors
    /// [`Error::Experiment`] for a key that the sweep does not have.
    pub fn extended(&self, more: &[Axis]) -> Result<Self> {
        let mut axes = self.axes.clone();
        for Axis { key, values } in more {
            let Some(axis) = axes.iter_mut().find(|axis| axis.key == *key) else {
                let known: Vec<&str> = self.axes.iter().map(|axis| axis.key.as_str()).collect();
                return Err(Error::Experiment(format!(
                    "the sweep has no key {key}, and its runs no value of it; extend {}, or begin another sweep",
                    known.join(", ")
                )));
            };
            let new = values.iter().filter(|value| !axis.values.contains(value)).cloned().collect::<Vec<_>>();
            axis.values.extend(new);
        }
        let mut grid = Self::new(axes);
        let mut next = self.runs.len();
        for run in &mut grid.runs {
            run.name = self.runs.iter().find(|known| known.values == run.values).map_or_else(
                || {
                    next += 1;
                    name(next - 1)
                },
                |known| known.name.clone(),
            );
        }
        Ok(grid)
    }

    /// Returns a run of this sweep that has the values of another one but for some keys.
    pub fn like(&self, other: &SweepRun, but: &[Axis]) -> Option<&SweepRun> {
        let is_same = |(key, value): (&String, &String)| {
            but.iter().any(|axis| axis.key == *key) || other.values.get(key) == Some(value)
        };
        self.runs.iter().find(|run| run.values.iter().all(is_same))
    }

    /// Reads the sweep in `directory`.
    ///
    /// # Errors
    /// Returns [`Error::RunDirectory`] for a folder without a sweep, and for one of another format.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(SWEEP);
        let broken = |why: String| Error::RunDirectory(format!("{} {why}", path.display()));
        let bytes =
            read_regular(&path).map_err(|error| broken(format!("cannot be read: {error}; is this a sweep?")))?;
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| broken(format!("is no JSON: {error}; put the file back, or begin another sweep")))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(FORMAT) => {}
            found => {
                let found = found.map_or("no format".to_owned(), |found| format!("format {found}"));
                return Err(broken(format!(
                    "has {found}, and this fedpipe reads format {FORMAT}; begin another sweep"
                )));
            }
        }
        let sweep: Self = serde_json::from_value(value).map_err(|error| broken(format!("is no sweep: {error}")))?;
        // A name is joined to the folder of the sweep.
        match sweep.runs.iter().find(|run| run.name.is_empty() || !run.name.chars().all(|c| c.is_ascii_digit())) {
            Some(run) => Err(broken(format!("names a run {:?}; a name has digits alone", run.name))),
            None => Ok(sweep),
        }
    }

    /// Returns the text of `sweep.json`.
    ///
    /// # Errors
    /// Returns [`Error::Encoding`], which no sweep meets.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Encoding(error.to_string()))?;
        Ok(format!("{text}\n"))
    }

    /// Returns the axes that tell configurations apart: those with several values, without the seeds.
    pub fn varied(&self) -> impl Iterator<Item = &Axis> {
        self.axes.iter().filter(|axis| axis.values.len() > 1 && !axis.is_seed())
    }

    /// Returns the runs of each configuration, which differ in their seeds alone, in the order of the grid.
    pub fn configurations(&self) -> Vec<Vec<&SweepRun>> {
        let values = |run: &SweepRun| self.varied().map(|axis| run.values.get(&axis.key).cloned()).collect::<Vec<_>>();
        let mut found: Vec<(Vec<_>, Vec<&SweepRun>)> = Vec::new();
        for run in &self.runs {
            let own = values(run);
            match found.iter_mut().find(|(values, _)| *values == own) {
                Some((_, runs)) => runs.push(run),
                None => found.push((own, vec![run])),
            }
        }
        found.into_iter().map(|(_, runs)| runs).collect()
    }
}

/// Returns the name of a run.
fn name(number: usize) -> String {
    format!("{number:03}")
}

/// Returns the folder of the experiments of a sweep.
pub fn experiments(directory: &Path) -> PathBuf {
    directory.join(EXPERIMENTS)
}

/// Returns the file with the experiment of a run.
pub fn experiment_file(directory: &Path, run: &str) -> PathBuf {
    experiments(directory).join(format!("{run}.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(key: &str, values: &[&str]) -> Axis {
        Axis { key: key.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    #[test]
    fn a_grid_has_every_combination_and_the_last_key_varies_fastest() {
        let sweep =
            Sweep::new(vec![axis("local.lr", &["0.1", "0.2"]), axis("rounds", &["3"]), axis("seed", &["0", "1"])]);
        let points: Vec<_> =
            sweep.runs.iter().map(|run| run.values.values().cloned().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(points, ["0.1 3 0", "0.1 3 1", "0.2 3 0", "0.2 3 1"]);
        assert_eq!(sweep.runs[3].name, "003");
        let names = |runs: &[&SweepRun]| runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>();
        let configurations: Vec<_> = sweep.configurations().iter().map(|runs| names(runs)).collect();
        assert_eq!(configurations, [["000", "001"], ["002", "003"]]);
        assert_eq!(sweep.varied().map(|axis| axis.key.as_str()).collect::<Vec<_>>(), ["local.lr"]);
        assert_eq!(Sweep::new(Vec::new()).runs.len(), 1);
    }

    #[test]
    fn more_values_leave_the_names_of_runs_alone() {
        let sweep = Sweep::new(vec![axis("local.lr", &["0.1", "0.2"]), axis("seed", &["0", "1"])]);
        let more = [axis("seed", &["1", "2"])];
        let extended = sweep.extended(&more).unwrap();
        let names = |sweep: &Sweep| sweep.runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(&extended), "000 001 004 002 003 005");
        assert!(sweep.runs.iter().all(|run| extended.runs.contains(run)));
        assert_eq!(sweep.like(&extended.runs[5], &more).unwrap().name, "002");
        let error = sweep.extended(&[axis("rounds", &["3"])]).unwrap_err().to_string();
        assert!(error.contains("the sweep has no key rounds"), "{error}");
    }

    #[test]
    fn a_sweep_is_read_as_written_and_another_file_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let sweep = Sweep::new(vec![axis("seed", &["0", "1"])]);
        let read = |text: &str| {
            std::fs::write(place.path().join(SWEEP), text).unwrap();
            Sweep::read(place.path()).map_err(|error| error.to_string())
        };
        let text = sweep.to_text().unwrap();
        assert_eq!(read(&text), Ok(sweep));
        for (text, why) in [
            (text.replace("\"format\": 1", "\"format\": 2"), "has format 2, and this fedpipe reads format 1"),
            ("{}".to_owned(), "has no format, and"),
            ("[".to_owned(), "is no JSON"),
            (text.replace("\"001\"", "\"../001\""), "names a run \"../001\""),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        std::fs::remove_file(place.path().join(SWEEP)).unwrap();
        assert!(Sweep::read(place.path()).unwrap_err().to_string().contains("is this a sweep?"));
    }
}
