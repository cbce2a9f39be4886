//! The run that another run replaces (`--overwrite`). It is kept until the other run has begun.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
};

use fedpipe_record::{
    line::{Chained, Line},
    names::{self, LEDGER, is_part_of_run},
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    disk::{
        TemporaryFolder,
        lock::{self, Taken},
    },
    error::{Error, Result},
    run::directory::RunDir,
};

/// A folder with a run that no host is working on.
#[derive(Debug)]
pub(crate) struct Finished {
    path: PathBuf,
    /// Keeps another host from continuing the run.
    _lock: Option<File>,
    /// Keeps another host from removing the folder as one that was left behind, under its temporary name.
    _kept: Option<File>,
}

/// The replaced run, in a temporary folder that is removed with this value.
#[derive(Debug)]
pub(crate) struct Replaced {
    folder: TemporaryFolder,
    _run: Finished,
}

impl Finished {
    /// Finds the run in `out`. Returns `None` if nothing or an empty folder is there.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where there is something else, or the run is under way.
    pub(crate) fn find(out: &Path) -> Result<Option<Self>> {
        let refuse = |why: String| Err(Error::Output(format!("--overwrite replaces a run alone, and {why}")));
        let path = match out.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::output("use", out, &error)),
        };
        let unreadable = |error| Error::output("use", out, &error);
        let entries = entries_of(&path, Path::new("")).map_err(unreadable)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let shown = out.display();
        if !holds_run(&path) {
            return refuse(format!("{shown} holds none; give another folder with --out"));
        }
        if let Some(other) = entries.iter().find(|entry| !is_part_of_run(entry)) {
            return refuse(format!("{} in {shown} is no part of one; move it to another folder", other.display()));
        }
        // Writable, as a lock for writing asks for.
        let lock = File::options().write(true).open(path.join(names::LOCK)).ok();
        match lock.as_ref().map(lock::take) {
            Some(Taken::ByAnother) => return Err(RunDir::busy(out)),
            Some(Taken::Held | Taken::Refused(_)) | None => {}
        }
        let kept = File::open(&path).ok().filter(|folder| folder.try_lock_shared().is_ok());
        Ok(Some(Self { path, _lock: lock, _kept: kept }))
    }

    /// Exchanges `draft` and the run in one step.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where the file system cannot do that.
    pub(crate) fn give_way_to(self, draft: TemporaryFolder) -> Result<Replaced> {
        exchange(draft.path(), &self.path)?;
        Ok(Replaced { folder: draft, _run: self })
    }
}

impl Replaced {
    /// Puts the replaced run back into its place. The other run is removed with this value.
    ///
    /// # Errors
    /// Returns the errors of [`Finished::give_way_to`].
    pub(crate) fn put_back(&self) -> Result<()> {
        exchange(self.folder.path(), &self._run.path)
    }
}

/// Each folder gets the other's name, or nothing is done: a host that is killed leaves one of the runs in its place,
/// whole.
fn exchange(draft: &Path, run: &Path) -> Result<()> {
    // By rustix, which needs no function of glibc: this one came with 2.28, and the wheel is for 2.17.
    renameat_with(CWD, draft, CWD, run, RenameFlags::EXCHANGE).map_err(|error| {
        Error::Output(format!(
            "the file system cannot replace {} at once ({error}); remove the folder, and leave out --overwrite",
            run.display()
        ))
    })
}

/// Returns the files and folders in `folder` of the run directory and in its folders, relative to the run directory.
/// Links are not followed.
fn entries_of(directory: &Path, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() && is_part_of_run(&path) {
            entries.extend(entries_of(directory, &path)?);
        }
        entries.push(path);
    }
    Ok(entries)
}

/// Returns `true` if the ledger in `folder` begins as that of a run.
fn holds_run(folder: &Path) -> bool {
    let ledger = folder.join(LEDGER);
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|data| data.is_file());
    if !is_file(&ledger) || !is_file(&folder.join(names::EXPERIMENT)) {
        return false;
    }
    let mut line = Vec::new();
    let read = File::open(ledger).and_then(|file| BufReader::new(file).read_until(b'\n', &mut line));
    let first = read.ok().and_then(|_| serde_json::from_slice::<Chained<'static>>(&line).ok());
    matches!(first, Some(Chained { line: Line::Started { .. }, .. }))
}

#[cfg(test)]
mod tests {
    use fedpipe_record::experiment::Experiment;

    use super::*;

    fn run_in(folder: &Path) {
        let experiment = Experiment { client: Some("true".into()), ..Experiment::default() };
        RunDir::create(&experiment, None, Some(folder), false).unwrap();
    }

    #[test]
    fn a_run_alone_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("run");
        assert!(Finished::find(&out).unwrap().is_none(), "nothing is there");
        fs::create_dir(&out).unwrap();
        assert!(Finished::find(&out).unwrap().is_none(), "the folder is empty");
        fs::write(out.join("notes.txt"), "").unwrap();
        let refusal = || Finished::find(&out).unwrap_err().to_string();
        assert!(refusal().contains("holds none; give another folder with --out"), "{}", refusal());
        fs::remove_dir_all(&out).unwrap();
        run_in(&out);
        assert!(Finished::find(&out).unwrap().is_some());
        fs::write(out.join("notes.txt"), "").unwrap();
        assert!(refusal().contains("notes.txt in "), "{}", refusal());
        fs::remove_file(out.join("notes.txt")).unwrap();
        fs::write(out.join(LEDGER), "{}\n").unwrap();
        assert!(refusal().contains("holds none"), "{}", refusal());
    }

    #[test]
    fn the_run_of_before_can_be_put_back_until_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("run");
        run_in(&out);
        let draft = || {
            let draft = TemporaryFolder::new_in(place.path(), ".draft-", 0o777).unwrap();
            fs::write(draft.path().join("new"), "").unwrap();
            draft
        };
        let replaced = Finished::find(&out).unwrap().unwrap().give_way_to(draft()).unwrap();
        assert!(out.join("new").exists() && !out.join(LEDGER).exists());
        replaced.put_back().unwrap();
        drop(replaced);
        assert!(holds_run(&out));
        drop(Finished::find(&out).unwrap().unwrap().give_way_to(draft()).unwrap());
        assert!(out.join("new").exists() && !out.join(LEDGER).exists());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
