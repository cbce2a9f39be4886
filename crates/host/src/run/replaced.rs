//! The run that another one replaces (`--overwrite`): it is there until the other one has begun.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, ErrorKind},
    path::{Path, PathBuf},
};

use fedpipe_record::{
    line::{Chained, Line},
    names::{self, LEDGER, is_part_of_run},
};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::{
    disk::{
        TemporaryFolder,
        lock::{self, Taken},
    },
    error::{Error, Result},
    run::directory::RunDir,
};

/// A folder with a run that is not under way.
#[derive(Debug)]
pub(crate) struct Finished {
    path: PathBuf,
    /// Keeps another host from going on with the run.
    _lock: Option<File>,
    /// Keeps another host from removing the folder as one that was left behind, under its temporary name.
    _kept: Option<File>,
}

/// The run of before, in a temporary folder, which is removed with this value.
#[derive(Debug)]
pub(crate) struct Replaced {
    folder: TemporaryFolder,
    _run: Finished,
}

impl Finished {
    /// Finds the run in `out`; none where there is nothing, or an empty folder.
    ///
    /// # Errors
    /// [`Error::Output`] where there is something else, or the run is under way.
    pub(crate) fn find(out: &Path) -> Result<Option<Self>> {
        let refuse = |why: String| Err(Error::Output(format!("--overwrite replaces a run alone, and {why}")));
        let path = match out.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::output("use", out, &error)),
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(|error| Error::output("use", out, &error))? {
            names.push(entry.map_err(|error| Error::output("use", out, &error))?.file_name());
        }
        if names.is_empty() {
            return Ok(None);
        }
        let shown = out.display();
        if !holds_run(&path) {
            return refuse(format!("{shown} holds none; give another folder with --out"));
        }
        if let Some(other) = names.iter().find(|name| !is_part_of_run(&name.to_string_lossy())) {
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

    /// Puts `draft` in the place of the run, and the run in that of `draft`, at once.
    ///
    /// # Errors
    /// [`Error::Output`] where the file system cannot do that.
    pub(crate) fn give_way_to(self, draft: TemporaryFolder) -> Result<Replaced> {
        exchange(draft.path(), &self.path)?;
        Ok(Replaced { folder: draft, _run: self })
    }
}

impl Replaced {
    /// Puts the run of before back into its place; the other one is removed with this value.
    ///
    /// # Errors
    /// As for [`Finished::give_way_to`].
    pub(crate) fn put_back(&self) -> Result<()> {
        exchange(self.folder.path(), &self._run.path)
    }
}

/// Each folder gets the other's name, or nothing is done: a host that is killed leaves one of the runs in its place, whole.
fn exchange(draft: &Path, run: &Path) -> Result<()> {
    renameat2(AT_FDCWD, draft, AT_FDCWD, run, RenameFlags::RENAME_EXCHANGE).map_err(|error| {
        Error::Output(format!(
            "the file system cannot replace {} at once ({error}); remove the folder, and leave out --overwrite",
            run.display()
        ))
    })
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
