//! The run directory, which holds all files of a run.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use fedpipe_data::{DataError, Scheme, refusal, sync_folder};
use fedpipe_record::{
    digest::bytes_sha256,
    experiment::Experiment,
    file::{read_regular, remove_drafts, write_whole},
    initial_file::InitialFile,
    names,
};
use fedpipe_spec::pinned_file::PinnedFile;

use crate::{
    disk::{
        TemporaryFolder,
        lock::{self, Taken},
        noexec,
    },
    error::{Error, Result},
    experiment::run_name,
    run::{
        ledger::{Ledger, started_line},
        replaced::{Finished, Replaced},
    },
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

    /// Makes the directory by one rename, with `experiment.toml`, the model and a ledger that names both. The directory
    /// is whole and can be resumed, or it is absent. Under `overwrite`, the directory replaces a run in `out`.
    ///
    /// # Errors
    /// Returns [`Error::Output`] where `out` holds something already or cannot be written.
    pub(crate) fn create(
        experiment: &Experiment,
        dylib: Option<&Path>,
        out: Option<&Path>,
        overwrite: bool,
    ) -> Result<(Self, Ledger)> {
        let before = out.filter(|_| overwrite).map(Finished::find).transpose()?.flatten();
        match out {
            Some(out) if before.is_some() => {
                let made = Self::create_at(experiment, dylib, out, before)?;
                made.ok_or_else(|| anyhow::anyhow!("{} did not give way", out.display()).into())
            }
            Some(out) => {
                refuse_taken(out)?;
                let taken = || Error::Output(format!("{} is not empty; give another folder with --out", out.display()));
                Self::create_at(experiment, dylib, out, None)?.ok_or_else(taken)
            }
            None => Self::create_numbered(experiment, dylib, Path::new("runs")),
        }
    }

    /// Makes the directory `NAME-N` in `folder`, with the first number N that no other run has.
    fn create_numbered(experiment: &Experiment, dylib: Option<&Path>, folder: &Path) -> Result<(Self, Ledger)> {
        let name = run_name(experiment)?;
        let paths = (1_u64..).map(|n| folder.join(format!("{name}-{n}")));
        // A link to nothing has its name, too.
        for path in paths.filter(|path| path.symlink_metadata().is_err()) {
            // Only a number that another run has taken meanwhile is followed by the next one.
            if let Some(made) = Self::create_at(experiment, dylib, &path, None)? {
                return Ok(made);
            }
        }
        Err(Error::Output("no number is left in runs/".into()))
    }

    /// Makes the directory in the place of the run `before`. Returns `None` if `out` is there and is not empty.
    fn create_at(
        experiment: &Experiment,
        dylib: Option<&Path>,
        out: &Path,
        before: Option<Finished>,
    ) -> Result<Option<(Self, Ledger)>> {
        let made = |what: &str, error: io::Error| Error::output(what, out, &error);
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let source = dylib.map(|dylib| {
            fs::File::open(dylib).map_err(|error| Error::Model(format!("cannot read {}: {error}", dylib.display())))
        });
        let source = source.transpose()?;
        let made_parent = !parent.exists();
        fs::create_dir_all(parent).map_err(|error| made("make", error))?;
        let draft = TemporaryFolder::new_in(parent, ".draft-", 0o777).map_err(|error| made("make", error))?;
        if let Some(why) = dylib.and_then(|_| noexec(draft.path().parent()?)) {
            return Err(Error::Output(format!("{why}; give another folder with --out")));
        }
        let text = experiment.to_toml()?;
        fill(draft.path(), &text, source).map_err(|error| made("write", error))?;
        let mut ledger = Ledger::create(draft.path()).map_err(|error| made("write", error))?;
        ledger.append(started_line(experiment))?;
        let synced = ledger.handle().and_then(|file| refusal(file.sync_data()));
        let ledger_refusal = synced.map_err(|error| made("write", error))?;
        let replaced = match before {
            Some(before) => Some(before.give_way_to(draft)?),
            None if rename(draft, out).map_err(|error| made("make", error))? => None,
            None => return Ok(None),
        };
        let folder_refusal = sync_folder(parent).map_err(|error| made("make", error))?;
        let mut locked = Self::lock(out.canonicalize().map_err(|error| made("find", error))?)?;
        // One warning is enough: a file system that refuses one sync refuses each.
        if let Some(error) = ledger_refusal.or(folder_refusal) {
            let shown = out.display();
            let why = format!("the file system of {shown} refuses to sync files ({error})");
            locked.warnings.push(format!("{why}: a power cut may cost the run"));
        }
        Ok(Some((Self { made_parent, replaced, ..locked }, ledger.moved_to(out))))
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
                // Where another run has begun meanwhile, it is not empty and stays.
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

    /// Keeps a copy of the split by hand that the scheme names, and returns its path. It comes from the `other` run
    /// directory, if there is one, or from the place that the scheme names.
    ///
    /// # Errors
    /// Returns [`Error::Data`] where the file cannot be read, [`Error::Output`] where the copy cannot be written.
    pub(crate) fn keep_split(&self, scheme: &Scheme, other: Option<&Path>) -> Result<Option<PathBuf>> {
        let Some(file) = scheme.split_file() else { return Ok(None) };
        let name = names::split_file(&file.sha256);
        let kept = self.path.join(&name);
        if !kept.exists() {
            let path = other.map_or_else(|| file.path.to_owned(), |other| other.join(&name));
            let bytes = read_regular(&path).map_err(|source| DataError::Read { path, source })?;
            self.write(&name, &bytes)?;
        }
        Ok(Some(kept))
    }

    /// Returns the content of the trace that a clock reads, and keeps a copy. It comes from that copy, from the `other`
    /// run directory, or from the place that the clock names.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] where the file cannot be read or has changed, [`Error::Output`] where the copy cannot
    /// be written.
    pub(crate) fn keep_trace(&self, file: &PinnedFile, other: Option<&Path>) -> Result<String> {
        let name = names::clock_file(&file.sha256);
        let kept = self.path.join(&name);
        let is_kept = kept.exists();
        let given = other.map_or_else(|| file.path.to_owned(), |other| other.join(&name));
        let from = if is_kept { &kept } else { &given };
        let bytes = read_regular(from)
            .map_err(|error| Error::Usage(format!("cannot read the clock's file {}: {error}", from.display())))?;
        let sha256 = bytes_sha256(&bytes);
        if !file.sha256.is_empty() && file.sha256 != sha256 {
            return Err(Error::Usage(format!(
                "the clock's file {} has the SHA-256 {sha256}, and the experiment was given {}; put the file back",
                from.display(),
                file.sha256
            )));
        }
        if !is_kept {
            self.write(&name, &bytes)?;
        }
        String::from_utf8(bytes).map_err(|_| Error::Usage(format!("the clock's file {} is not UTF-8", from.display())))
    }

    /// Returns the file of initial weights that the experiment names, and keeps a copy. The content comes from that
    /// copy, from the `other` run directory, or from the place that the experiment names.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] where the file cannot be read or has changed, [`Error::Output`] where the copy cannot
    /// be written.
    pub(crate) fn keep_initial(&self, file: &InitialFile, other: Option<&Path>) -> Result<Vec<u8>> {
        let copy = self.path.join(names::INITIAL_WEIGHTS);
        let is_kept = copy.exists();
        let given = other.map_or_else(|| file.path.clone(), |other| other.join(names::INITIAL_WEIGHTS));
        let from = if is_kept { &copy } else { &given };
        let bytes = read_regular(from)
            .map_err(|error| Error::Usage(format!("cannot read the initial weights {}: {error}", from.display())))?;
        let sha256 = bytes_sha256(&bytes);
        if !file.sha256.is_empty() && file.sha256 != sha256 {
            return Err(Error::Usage(format!(
                "the initial weights {} have the SHA-256 {sha256}, and the experiment was given {}; put the file back",
                from.display(),
                file.sha256
            )));
        }
        if !is_kept {
            self.write(names::INITIAL_WEIGHTS, &bytes)?;
        }
        Ok(bytes)
    }

    /// Writes the file `name`, whole or not at all.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        write_whole(&path, contents).map_err(|error| Error::in_run("write", &path, &error))
    }
}

/// Writes the experiment, and copies the dylib from `source`, into the folder that is to be the run directory.
fn fill(draft: &Path, experiment: &str, source: Option<fs::File>) -> io::Result<()> {
    fs::create_dir(draft.join(names::LOGS))?;
    write_whole(&draft.join(names::EXPERIMENT), experiment.as_bytes())?;
    if let Some(mut source) = source {
        // `fs::copy` fails where a mode cannot be set.
        io::copy(&mut source, &mut fs::File::create(draft.join(names::MODEL))?)?;
    }
    Ok(())
}

/// Gives the folder its name. An empty folder gives way; returns `false` for one that another run filled meanwhile.
fn rename(draft: TemporaryFolder, out: &Path) -> io::Result<bool> {
    match fs::rename(draft.path(), out) {
        Ok(()) => {
            draft.keep();
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => Ok(false),
        Err(error) => Err(error),
    }
}

fn refuse_taken(out: &Path) -> Result<()> {
    let shown = out.display();
    if out.join(names::EXPERIMENT).exists() {
        return Err(Error::Output(format!(
            "{shown} already holds a run; give another folder with --out, or --overwrite"
        )));
    }
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Error::Output(format!("{shown} is not empty; give another folder with --out"))),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::output("use", out, &error)),
    }
}

#[cfg(test)]
mod tests;
