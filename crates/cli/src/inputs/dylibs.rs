//! The dylibs of models, and the folders in which they are searched for.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use fedpipe_host::{Error, Isolation, Level, Ready, Result, describe, isolation};

use crate::inputs::{client_commands::client_command, own_file};

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

/// Returns the description that the model in a dylib gives of itself.
///
/// # Errors
/// Returns the errors of [`describe`].
pub(crate) fn describe_dylib(path: &Path) -> Result<Ready> {
    describe(&client_command(), path, &any_isolation())
}

/// Returns the isolation of a model that is only described: as much as this kernel offers. Such a model has no data
/// that it could reveal, and the list has all models that can run here.
pub(crate) fn any_isolation() -> Isolation {
    isolation(Level::Auto, None, None, 1)
}

/// Returns `true` for a model for tests or benches only. Cargo builds such a model beside the others.
pub(crate) fn is_fixture(model: &Ready) -> bool {
    model.summary.starts_with("fixture: ")
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

/// Returns the folders that are searched, in this order. `crates/cli/README.md` has the same list.
///
/// 1. the folders in `$FEDPIPE_MODELS`
/// 2. the folder of this command, and its `deps`: the build folder of cargo
/// 3. `../share/fedpipe/models` beside the folder of this command: an installation
/// 4. `$XDG_DATA_HOME/fedpipe/models`, or `~/.local/share/fedpipe/models`: models of the user's
pub(crate) fn folders() -> Vec<PathBuf> {
    let named = env::var_os("FEDPIPE_MODELS");
    let executable = own_file::path().ok();
    let home = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.or_else(|| Some(env::home_dir()?.join(".local/share")));
    folders_of(named.as_deref(), executable.as_deref(), home.as_deref())
}

fn folders_of(named: Option<&OsStr>, executable: Option<&Path>, data_home: Option<&Path>) -> Vec<PathBuf> {
    const INSTALLED: &str = "fedpipe/models";
    let mut folders: Vec<PathBuf> = named.iter().flat_map(env::split_paths).collect();
    if let Some(beside) = executable.and_then(Path::parent) {
        folders.extend([beside.to_owned(), beside.join("deps")]);
        folders.extend(beside.parent().map(|prefix| prefix.join("share").join(INSTALLED)));
    }
    let own = data_home.map(|home| home.join(INSTALLED));
    // An installation in ~/.local has its models in the data folder of the user.
    folders.extend(own.filter(|own| !folders.contains(own)));
    folders
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_are_searched_in_the_order_of_the_readme() {
        let folders = |named: Option<&str>, executable: &str, home: &str| -> Vec<String> {
            let found = folders_of(named.map(OsStr::new), Some(Path::new(executable)), Some(Path::new(home)));
            found.iter().map(|folder| folder.display().to_string()).collect()
        };
        assert_eq!(
            folders(Some("/a:/b"), "/venv/bin/fedpipe", "/home/me/.local/share"),
            [
                "/a",
                "/b",
                "/venv/bin",
                "/venv/bin/deps",
                "/venv/share/fedpipe/models",
                "/home/me/.local/share/fedpipe/models"
            ]
        );
        let installed = ["/me/.local/bin", "/me/.local/bin/deps", "/me/.local/share/fedpipe/models"];
        assert_eq!(folders(None, "/me/.local/bin/fedpipe", "/me/.local/share"), installed);
        assert_eq!(folders_of(None, None, None), [] as [PathBuf; 0]);
    }

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
