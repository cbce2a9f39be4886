//! The folders that a run writes to, and the cache.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use fedpipe_data::{Cache, FileCause, has_fashion_mnist};
use fedpipe_host::{FolderCheck, check_folder};

use super::Finding;

pub(super) fn current() -> Vec<Finding> {
    // The run directory has the dylib that the clients load.
    vec![of_folder(Path::new("."), true, "give a folder elsewhere with --out")]
}

pub(super) fn temporary() -> Vec<Finding> {
    vec![of_folder(&env::temp_dir(), true, "set TMPDIR to another folder")]
}

pub(super) fn cache() -> Vec<Finding> {
    const ELSEWHERE: &str = "set XDG_CACHE_HOME to another folder";
    vec![match Cache::user() {
        Ok(cache) => of_folder(existing(cache.root()), false, ELSEWHERE).at(cache.root()),
        Err(error) => Finding::broken(error.to_string(), ELSEWHERE),
    }]
}

pub(super) fn data() -> Vec<Finding> {
    let is_here = Cache::user().is_ok_and(|cache| has_fashion_mnist(&cache));
    vec![if is_here {
        Finding::fine("Fashion-MNIST is on this machine")
    } else {
        Finding::limited(
            "Fashion-MNIST is not on this machine; the first run fetches it",
            "`fedpipe data fetch fashion-mnist` before the machine is offline; --data sample needs no network",
        )
    }]
}

impl Finding {
    /// Names the folder `path` instead of the folder above it that exists.
    fn at(self, path: &Path) -> Self {
        if path.exists() {
            return self;
        }
        Self { fact: format!("{} does not exist yet; {}", path.display(), self.fact), ..self }
    }
}

/// Returns `path`, or the first folder above it that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}

/// Checks a folder, from which models are loaded if `executes`. `elsewhere` is the remedy that names another folder.
fn of_folder(folder: &Path, executes: bool, elsewhere: &str) -> Finding {
    let shown = folder.canonicalize().unwrap_or_else(|_| PathBuf::from(folder));
    of_check(&shown, check_folder(folder), executes, elsewhere)
}

fn of_check(folder: &Path, checked: io::Result<FolderCheck>, executes: bool, elsewhere: &str) -> Finding {
    let shown = folder.display();
    match checked {
        Err(error) => {
            let help = FileCause::of(&error).help();
            let remedy = if help.is_empty() { elsewhere.to_owned() } else { format!("{help}, or {elsewhere}") };
            Finding::broken(format!("{shown} cannot be written: {error}"), remedy)
        }
        Ok(FolderCheck { noexec: Some(why), .. }) if executes => Finding::broken(why, elsewhere),
        Ok(FolderCheck { without_locks: Some(error), .. }) => Finding::limited(
            format!("{shown} has no locks ({error}), so that two runs could write it at once"),
            format!("start one run at a time, or {elsewhere}"),
        ),
        Ok(_) => Finding::fine(format!("{shown} can be written and has locks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_folder_that_cannot_be_used_is_found_with_a_remedy() {
        let check = |noexec: Option<&str>, number: Option<i32>| {
            let without_locks = number.map(io::Error::from_raw_os_error);
            Ok(FolderCheck { noexec: noexec.map(str::to_owned), without_locks })
        };
        let found = |checked, executes| of_check(Path::new("/x"), checked, executes, "go elsewhere");
        let full = || Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        let cases = [
            (found(check(None, None), true), State::Fine, ""),
            (found(check(Some("noexec"), None), false), State::Fine, ""),
            (found(check(Some("noexec"), None), true), State::Broken, "go elsewhere"),
            (found(check(None, Some(37)), true), State::Limited, "start one run at a time, or go elsewhere"),
            (found(full(), false), State::Broken, "free some space, or go elsewhere"),
        ];
        for (finding, state, remedy) in cases {
            assert_eq!((finding.state, finding.remedy.as_str()), (state, remedy), "{finding:?}");
        }
    }

    #[test]
    fn a_folder_that_does_not_exist_yet_is_checked_above() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("a/b");
        assert_eq!(existing(&absent), folder.path());
        let finding = of_folder(existing(&absent), false, "").at(&absent);
        assert_eq!(finding.state, State::Fine);
        assert!(finding.fact.starts_with(&format!("{} does not exist yet; ", absent.display())), "{finding:?}");
    }
}
