//! The dylibs of models. They are searched for in `$FEDPIPE_MODELS`, beside the executable, and in its `deps/`.

use std::path::{Path, PathBuf};

use fedpipe_host::{Error, Result};

use crate::inputs::own_file;

/// Returns the dylib of `model`, which is a name, or a path with a `/` in it.
///
/// # Errors
/// [`Error::Model`] with the folders that were searched.
pub(crate) fn find_dylib(model: &str) -> Result<PathBuf> {
    if !model.contains('/') {
        return find_in(&folders(), model);
    }
    let path = Path::new(model);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    Err(Error::Model(format!("there is no dylib at {model}; build the model and give the path of its .so")))
}

fn find_in(folders: &[PathBuf], model: &str) -> Result<PathBuf> {
    let file = format!("lib{}.so", model.replace('-', "_"));
    let found = folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let searched: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let hint = if model.ends_with(".so") { " (a path has a `/` in it: ./NAME.so)" } else { "" };
        Error::Model(format!(
            "there is no model {model:?}{hint}: {file} is not in {}; see `fedpipe models`, or build it",
            searched.join(", ")
        ))
    })
}

/// Returns all dylibs in the folders, sorted by name; of several with one name, the first that a run would find.
pub(crate) fn all_dylibs() -> Vec<PathBuf> {
    all_in(&folders())
}

fn all_in(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut dylibs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "so")).collect();
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_folder_with_a_model_wins() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["first", "second", "absent"].map(|name| folder.path().join(name));
        for (at, name) in [(0, "libtwo_words.so"), (0, "README"), (1, "libtwo_words.so"), (1, "liba.so")] {
            fs::create_dir_all(&folders[at]).unwrap();
            fs::write(folders[at].join(name), "").unwrap();
        }
        assert_eq!(find_in(&folders, "two-words").unwrap(), folders[0].join("libtwo_words.so"));
        assert_eq!(all_in(&folders), [folders[1].join("liba.so"), folders[0].join("libtwo_words.so")]);
        let error = find_in(&folders, "b.so").unwrap_err().to_string();
        assert!(error.contains("libb.so.so is not in") && error.contains("./NAME.so"), "{error}");
        let path = folders[1].join("liba.so");
        assert_eq!(find_dylib(path.to_str().unwrap()).unwrap(), path);
        assert!(find_dylib("./absent.so").unwrap_err().to_string().contains("there is no dylib at ./absent.so"));
    }
}
