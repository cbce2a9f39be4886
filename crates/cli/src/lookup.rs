//! Where models are: `$FEDPIPE_MODELS`, beside the executable, and in its `deps/`.

use std::path::{Path, PathBuf};

use fedpipe_host::{Error, Result};

use crate::own_file;

/// The dylib of `model`, a name, or a path with a `/` in it.
///
/// # Errors
/// [`Error::Model`] with where it was looked for.
pub(crate) fn dylib(model: &str) -> Result<PathBuf> {
    if model.contains('/') {
        let path = Path::new(model);
        return match path.is_file() {
            true => Ok(path.to_owned()),
            false => {
                Err(Error::Model(format!("there is no dylib at {model}; build the model and give the path of its .so")))
            }
        };
    }
    let folders = folders();
    let file = format!("lib{}.so", model.replace('-', "_"));
    let found = folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let hint = if model.ends_with(".so") { " (a path has a `/` in it: ./NAME.so)" } else { "" };
        Error::Model(format!(
            "there is no model {model:?}{hint}: {file} is not in {}; see `fedpipe models`, or build it",
            looked.join(", ")
        ))
    })
}

/// All dylibs in the folders, the first of a name only, by name.
pub(crate) fn all() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut dylibs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "so")).collect();
        dylibs.sort();
        dylibs.retain(|path| !found.iter().any(|other| other.file_name() == path.file_name()));
        found.extend(dylibs);
    }
    found.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    found
}

fn folders() -> Vec<PathBuf> {
    let named = std::env::var_os("FEDPIPE_MODELS");
    let named = named.iter().flat_map(std::env::split_paths);
    let executable = own_file::path().ok();
    let beside = executable.as_deref().and_then(Path::parent);
    named.chain(beside.into_iter().flat_map(|folder| [folder.to_owned(), folder.join("deps")])).collect()
}
