//! The run directory: everything that a run leaves.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    Error, Experiment, Result,
    files::{sync_folder, write_whole},
};

/// A run's directory.
#[derive(Debug)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// Makes the directory, with `experiment.toml` and the model in it, by one rename: it is whole or absent.
    ///
    /// # Errors
    /// [`Error::Output`] where `out` holds something already or cannot be written.
    pub(crate) fn create(experiment: &Experiment, dylib: &Path, out: Option<&Path>) -> Result<Self> {
        match out {
            Some(out) => Self::create_at(experiment, dylib, out),
            None => {
                let name = Path::new(&experiment.model).file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let name = name.strip_prefix("lib").unwrap_or(&name);
                (1_u64..)
                    .map(|n| Path::new("runs").join(format!("{name}-{n}")))
                    .filter(|path| !path.exists())
                    .map(|path| Self::create_at(experiment, dylib, &path))
                    // Another run may have taken the number meanwhile.
                    .find(|made| made.is_ok() || !matches!(made, Err(Error::Output(_))) || !Path::new("runs").is_dir())
                    .unwrap_or_else(|| Err(Error::Output("no number is left in runs/".into())))
            }
        }
    }

    fn create_at(experiment: &Experiment, dylib: &Path, out: &Path) -> Result<Self> {
        refuse_taken(out)?;
        let made = |what: &str, error: io::Error| Error::output(what, out, &error);
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| made("make", error))?;
        let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(parent);
        let draft = draft.map_err(|error| made("make", error))?;
        let text = toml::to_string(experiment).map_err(|error| anyhow::anyhow!(error))?;
        let fill = || -> io::Result<()> {
            fs::create_dir(draft.path().join("clients"))?;
            write_whole(&draft.path().join("experiment.toml"), text.as_bytes())?;
            fs::copy(dylib, draft.path().join("model.so"))?;
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o755))
        };
        fill().map_err(|error| made("write", error))?;
        // An empty folder gives way to a rename; one that another run filled meanwhile does not.
        fs::rename(draft.path(), out).map_err(|error| made("make", error))?;
        let _ = draft.keep();
        sync_folder(parent).map_err(|error| made("make", error))?;
        let out = out.canonicalize().map_err(|error| made("find", error))?;
        Ok(Self(out))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.0.join("clients")
    }

    pub(crate) fn model(&self) -> PathBuf {
        self.0.join("model.so")
    }

    pub(crate) fn model_sha256(&self) -> Result<String> {
        let path = self.model();
        crate::summary::file_sha256(&path).map_err(|error| Error::output("read", &path, &error))
    }

    /// Takes the directory away again where the run could not begin because of what it was given: the same folder can
    /// be named again. What a crash left is kept.
    pub(crate) fn discard_if_never_begun(&self, error: &Error) {
        if matches!(error, Error::Usage(_) | Error::Model(_) | Error::Data(_)) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Writes `name`, whole or not at all.
    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        write_whole(&path, contents).map_err(|error| Error::output("write", &path, &error))
    }
}

fn refuse_taken(out: &Path) -> Result<()> {
    let shown = out.display();
    if out.join("experiment.toml").exists() {
        return Err(Error::Output(format!("{shown} already holds a run; give another folder with --out")));
    }
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Error::Output(format!("{shown} is not empty; give another folder with --out"))),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::output("use", out, &error)),
    }
}
