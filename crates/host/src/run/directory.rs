//! The run directory, which holds all files of a run.

mod creation;
mod kept_inputs;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use fedpipe_record::{
    digest::bytes_sha256,
    file::{read_regular, remove_drafts, write_whole},
    names,
};

use crate::{
    disk::{
        lock::{self, Taken},
        noexec,
    },
    error::{Error, Result},
    run::replaced::Replaced,
};

/// A run's directory, locked: only one host works in it.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    /// `true` if the parent folder was made for this directory.
    made_parent: bool,
    /// The operations that the file system refused, and without which the run continues; a sentence each.
    pub(crate) warnings: Vec<String>,
    /// The run that this one replaces. It is removed with this value.
    pub(crate) replaced: Option<Replaced>,
    /// Holds the lock; the host's process number in it is for people.
    _lock: fs::File,
}

/// A dylib in the run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dylib {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// Returns `true` if the host of another process works in a run directory.
pub fn is_at_work(path: &Path) -> bool {
    let holder = fs::File::open(path.join(names::LOCK)).ok().and_then(|file| lock::holder(&file).ok().flatten());
    holder.is_some()
}

impl RunDir {
    /// Refuses a directory that another host works in.
    ///
    /// # Errors
    /// Returns [`Error::Output`].
    pub(crate) fn refuse_busy(path: &Path) -> Result<()> {
        if is_at_work(path) { Err(Self::busy(path)) } else { Ok(()) }
    }

    pub(crate) fn busy(path: &Path) -> Error {
        Error::Output(format!("another fedpipe is at work in {}; wait for it", path.display()))
    }

    /// Opens and locks the directory of a run that continues.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where there is no run, or another host works in it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = path.canonicalize().map_err(|error| Error::in_run("find", path, &error))?;
        if !path.join(names::EXPERIMENT).exists() {
            return Err(Error::Output(format!("{} holds no run (no experiment.toml)", path.display())));
        }
        if let Some(why) = path.join(names::MODEL).exists().then(|| noexec(&path)).flatten() {
            return Err(Error::Output(format!("{why}; move the run to another folder")));
        }
        let directory = Self::lock(path)?;
        for folder in [directory.path().to_owned(), directory.path().join(names::CHECKPOINTS)] {
            remove_drafts(&folder);
        }
        Ok(directory)
    }

    fn lock(path: PathBuf) -> Result<Self> {
        let file = path.join(names::LOCK);
        let cannot = |error: io::Error| Error::in_run("write", &file, &error);
        // A link could name any file, which would be overwritten; a pipe would wait for a reader.
        let plain = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let open = fs::File::options().create(true).truncate(false).write(true).custom_flags(plain).open(&file);
        let mut lock = open.map_err(cannot)?;
        let warnings = match lock::take(&lock) {
            Taken::Held => Vec::new(),
            Taken::ByAnother => {
                return Err(Self::busy(&path));
            }
            Taken::Refused(error) => {
                let shown = path.display();
                vec![format!(
                    "{shown} cannot be locked ({error}): start no other host in it while this run is under way"
                )]
            }
        };
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(cannot)?;
        Ok(Self { path, made_parent: false, warnings, replaced: None, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join(names::LOGS)
    }

    /// Returns the dylib of the first rounds.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where it cannot be read.
    pub(crate) fn model(&self) -> Result<Dylib> {
        self.dylib(names::MODEL)
    }

    /// Returns a dylib of the run by its name.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where it cannot be read.
    pub(crate) fn dylib(&self, name: &str) -> Result<Dylib> {
        let path = self.path.join(name);
        let bytes = read_regular(&path).map_err(|error| {
            Error::Output(format!("cannot read the run's dylib {}: {error}; put the file back", path.display()))
        })?;
        Ok(Dylib { path, sha256: bytes_sha256(&bytes) })
    }

    /// Copies a dylib that is used from `round` on.
    pub(crate) fn take_model(&self, round: u64, source: &Path) -> Result<Dylib> {
        let bytes =
            read_regular(source).map_err(|error| Error::Model(format!("cannot read {}: {error}", source.display())))?;
        let name = names::model_from(round);
        self.write(&name, &bytes)?;
        Ok(Dylib { path: self.path.join(name), sha256: bytes_sha256(&bytes) })
    }

    /// Removes the later dylibs of which the ledger does not `know`, by their names: a resume cuts off the lines that
    /// tell of them. Returns how many there were.
    ///
    /// # Errors
    /// Returns the errors of listing the directory, and of removing them.
    pub(crate) fn drop_models_unless(&self, know: impl Fn(&str) -> bool) -> Result<u64> {
        let failed = |error: io::Error| Error::in_run("clean", &self.path, &error);
        let mut dropped = 0;
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if name.starts_with(names::MODEL_FROM) && !know(&name) {
                fs::remove_file(self.path.join(name)).map_err(failed)?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Removes the dylib that was copied for `round` and the later ones.
    pub(crate) fn drop_model(&self, round: u64) {
        let _ = fs::remove_file(self.path.join(names::model_from(round)));
    }

    /// Removes the results of a run that continues.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where one is there and cannot be removed.
    pub(crate) fn drop_results(&self) -> Result<()> {
        for name in [names::SUMMARY, names::FINAL_WEIGHTS, names::PICTURE, names::PARTITION_PICTURE] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::in_run("remove", &path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the directory if the run could not begin because of its arguments. The same folder can then be named
    /// again, or has the replaced run. The files of a crash are kept.
    pub(crate) fn discard_if_never_begun(&self, error: &Error, before: Option<&Replaced>) {
        if let Some(before) = before {
            // Of a run that was stopped before it began, nothing is worth another's results.
            if !matches!(error, Error::Round(_) | Error::System(_) | Error::Output(_)) {
                let _ = before.put_back();
            }
            return;
        }
        if matches!(error, Error::Usage(_) | Error::Model(_) | Error::Isolation(_) | Error::Data(_)) {
            let _ = fs::remove_dir_all(&self.path);
            if let Some(parent) = self.path.parent().filter(|_| self.made_parent) {
                // The folder stays if another run has begun in it meanwhile.
                let _ = fs::remove_dir(parent);
            }
        }
    }

    /// Writes the list of partitions, unless it is there. It is not put on the disk, since it can be made again from
    /// the data.
    pub(crate) fn list_partitions(&self, digests: &str) -> Result<()> {
        let path = self.path.join(names::PARTITIONS);
        if fs::read(&path).is_ok_and(|there| there == digests.as_bytes()) {
            return Ok(());
        }
        fs::write(&path, digests).map_err(|error| Error::in_run("write", &path, &error))
    }

    /// Writes the file `name`, whole or not at all.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        write_whole(&path, contents).map_err(|error| Error::in_run("write", &path, &error))
    }
}

#[cfg(test)]
mod tests;
