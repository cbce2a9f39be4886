//! The folder of a sweep: its file, the experiments of its runs, and the state of each run.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use fedpipe_host::{Error, Result};
use fedpipe_record::{
    experiment::Experiment,
    file::write_whole,
    names::EXPERIMENT,
    run_overview::{RunOverview, RunStatus},
    sweep::{SWEEP, Sweep, experiment_file, experiments},
};

/// The folder of a sweep. Only one command works on it.
#[derive(Debug)]
pub(crate) struct SweepFolder {
    pub(crate) path: PathBuf,
    pub(crate) sweep: Sweep,
    /// Holds the lock, which ends with the process.
    _lock: File,
}

/// The work that is left of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The run is finished.
    Nothing,
    /// The run has a directory and continues from its last checkpoint.
    Resume,
    /// The run has not begun.
    All,
}

impl SweepFolder {
    /// Makes the folder of a new sweep: `out`, or the next `runs/sweep-N`. `sweep.json` is written last, so that a
    /// folder with this file is whole.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where the folder exists or cannot be written.
    pub(crate) fn create(sweep: Sweep, all: &[Experiment], out: Option<&Path>) -> Result<Self> {
        let path = match out {
            Some(out) => make(out).map_err(|error| cannot("make", out, &error))?,
            None => make_numbered(Path::new("runs"))?,
        };
        let failed = |error: io::Error| cannot("write", &path, &error);
        fs::create_dir(experiments(&path)).map_err(failed)?;
        for (run, experiment) in sweep.runs.iter().zip(all) {
            fs::write(experiment_file(&path, &run.name), experiment.to_toml()?).map_err(failed)?;
        }
        write_whole(&path.join(SWEEP), sweep.to_text()?.as_bytes()).map_err(failed)?;
        Self::locked(path, sweep)
    }

    /// Opens the folder of a sweep that continues.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a folder without a sweep, and for one that another command works on.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let sweep = Sweep::read(path).map_err(|error| Error::Output(error.to_string()))?;
        Self::locked(path.to_owned(), sweep)
    }

    /// Adds the experiments of new runs, and then the runs to `sweep.json`.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where a file cannot be written.
    pub(crate) fn extend(&mut self, sweep: Sweep, new: &[(String, Experiment)]) -> Result<()> {
        let failed = |error: io::Error| cannot("write", &self.path, &error);
        for (name, experiment) in new {
            write_whole(&experiment_file(&self.path, name), experiment.to_toml()?.as_bytes()).map_err(failed)?;
        }
        write_whole(&self.path.join(SWEEP), sweep.to_text()?.as_bytes()).map_err(failed)?;
        self.sweep = sweep;
        Ok(())
    }

    fn locked(path: PathBuf, sweep: Sweep) -> Result<Self> {
        let lock = File::open(&path).map_err(|error| cannot("read", &path, &error))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let shown = path.display();
                Err(Error::Output(format!("another fedpipe sweep is at work in {shown}; wait for it")))
            }
            // A file system without locks costs the guard alone.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self { path, sweep, _lock: lock }),
        }
    }

    /// Returns the directory of a run.
    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns the run with this name; `None` if it has not begun.
    pub(crate) fn overview(&self, name: &str) -> Option<RunOverview> {
        RunOverview::read(&self.run(name)).ok()
    }

    /// Returns the work that is left of a run.
    pub(crate) fn left(&self, name: &str) -> Left {
        match self.overview(name) {
            Some(run) if run.state == RunStatus::Finished => Left::Nothing,
            // A run whose ledger cannot be read is refused by name.
            _ if self.run(name).join(EXPERIMENT).exists() => Left::Resume,
            _ => Left::All,
        }
    }
}

fn make(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), fs::create_dir_all)?;
    fs::create_dir(path)?;
    Ok(path.to_owned())
}

/// Makes `sweep-N` in `folder`, with the first number that is free.
fn make_numbered(folder: &Path) -> Result<PathBuf> {
    for path in (1_u64..).map(|number| folder.join(format!("sweep-{number}"))) {
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(|error| cannot("make", &path, &error)),
        }
    }
    Err(Error::Output("no number is left in runs/".into()))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::AlreadyExists => "; continue the sweep in it with --resume, or give another folder with --out",
        _ => "; give another folder with --out",
    };
    Error::Output(format!("cannot {what} {}: {error}{remedy}", path.display()))
}

#[cfg(test)]
mod tests {
    use fedpipe_record::sweep::Axis;

    use super::*;

    fn sweep() -> (Sweep, Vec<Experiment>) {
        let axis = Axis { key: "seed".into(), values: vec!["0".into(), "1".into()] };
        (Sweep::new(vec![axis]), vec![Experiment::default(), Experiment::default()])
    }

    #[test]
    fn a_folder_belongs_to_one_command_and_is_not_made_twice() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("deep/sweep");
        let (sweep, all) = sweep();
        let made = SweepFolder::create(sweep.clone(), &all, Some(&out)).unwrap();
        assert!(experiment_file(&out, "001").is_file());
        assert_eq!(made.left("001"), Left::All);
        let busy = SweepFolder::open(&out).unwrap_err().to_string();
        assert!(busy.contains("another fedpipe sweep is at work in"), "{busy}");
        drop(made);
        assert_eq!(SweepFolder::open(&out).unwrap().sweep, sweep);
        let taken = SweepFolder::create(sweep, &all, Some(&out)).unwrap_err().to_string();
        assert!(taken.contains("continue the sweep in it with --resume"), "{taken}");
    }

    #[test]
    fn sweeps_without_a_folder_are_numbered() {
        let place = tempfile::tempdir().unwrap();
        let names = [(); 2].map(|()| make_numbered(&place.path().join("runs")).unwrap());
        assert_eq!(names, ["runs/sweep-1", "runs/sweep-2"].map(|name| place.path().join(name)));
    }
}
