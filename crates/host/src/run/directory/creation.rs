//! The making of a run directory: whole under its name, or not at all.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use fedpipe_data::{refusal, sync_folder};
use fedpipe_record::{experiment::Experiment, file::write_whole, names};

use crate::{
    disk::{TemporaryFolder, noexec},
    error::{Error, Result},
    experiment::run_name,
    run::{
        directory::RunDir,
        ledger::{Ledger, started_line},
        replaced::Finished,
    },
};

impl RunDir {
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
    pub(super) fn create_numbered(
        experiment: &Experiment,
        dylib: Option<&Path>,
        folder: &Path,
    ) -> Result<(Self, Ledger)> {
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
    pub(super) fn create_at(
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
