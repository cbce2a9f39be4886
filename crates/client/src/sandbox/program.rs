//! The part of the file system that a program of the user's may read: what its host names, without what its host closes.

use std::{
    collections::BTreeSet,
    fs,
    ops::Bound,
    path::{Path, PathBuf},
};

use fedpipe_protocol::LEDGER;
use serde::{Deserialize, Serialize};

/// What a program may read and execute besides its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Program {
    /// Files, and folders with all that is in them.
    pub open: BTreeSet<PathBuf>,
    /// Folders that may be listed, with all below them; an interpreter looks for a module by listing.
    pub listed: BTreeSet<PathBuf>,
}

impl Program {
    /// Opens the files and folders `open` but for `closed`, whose paths have no links. A folder with something closed in it is
    /// listed, and opened entry by entry.
    pub fn of(open: &[PathBuf], closed: &[PathBuf]) -> Self {
        let mut opening = Opening { closed: closed.iter().cloned().collect(), program: Self::default() };
        open.iter().for_each(|path| opening.open(path));
        opening.program
    }
}

struct Opening {
    closed: BTreeSet<PathBuf>,
    program: Program,
}

impl Opening {
    fn open(&mut self, path: &Path) {
        let Ok(path) = path.canonicalize() else { return };
        if path.ancestors().any(|above| self.closed.contains(above)) {
            return;
        }
        if !self.holds_closed(&path) {
            self.program.open.insert(path);
            return;
        }
        // A link may lead to a folder that was here before.
        if !self.program.listed.insert(path.clone()) {
            return;
        }
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let entries = entries.filter_map(|entry| entry.path().canonicalize().ok());
        // A link may lead anywhere. A run may have begun here after its host looked for runs.
        for entry in entries.filter(|entry| entry.starts_with(&path) && !entry.join(LEDGER).exists()) {
            self.open(&entry);
        }
    }

    /// Returns `true` for a folder with something closed in it. What is in a folder follows it in the order of paths.
    fn holds_closed(&self, path: &Path) -> bool {
        let after = (Bound::Excluded(path), Bound::Unbounded);
        self.closed.range::<Path, _>(after).next().is_some_and(|next| next.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path, text: &str) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        path.canonicalize().unwrap()
    }

    fn is_open(program: &Program, file: &Path) -> bool {
        file.canonicalize().unwrap().ancestors().any(|above| program.open.contains(above))
    }

    #[test]
    fn a_folder_is_opened_but_for_what_is_closed_in_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let open =
            ["client.py", "parts/model.py", "deep/beside.py", "deep/down/beside.py", "data/notes.txt", "deeper/x.py"];
        let open = open.map(|name| write(&root.join(name), ""));
        let closed = ["deep/cache/partitions/0", "deep/down/run/model.safetensors", "data/train-images-idx3-ubyte"];
        let closed = closed.map(|name| write(&root.join(name), ""));
        let later = write(&root.join("deep/later/ledger.jsonl"), "");
        symlink(&root, root.join("parts/up")).unwrap();
        symlink(root.join("deep"), root.join("link")).unwrap();
        symlink(root.join("data"), root.join("deep/data")).unwrap();
        let paths = [root.join("deep/cache"), root.join("deep/down/run"), closed[2].clone()];
        let program = Program::of(std::slice::from_ref(&root), &paths);
        for file in &open {
            assert!(is_open(&program, file), "{file:?} {program:?}");
        }
        for file in closed.iter().chain([&later]) {
            assert!(!is_open(&program, file), "{file:?} {program:?}");
        }
        let listed = ["", "data", "deep", "deep/down"].map(|name| root.join(name).canonicalize().unwrap());
        assert_eq!(program.listed, BTreeSet::from(listed));
    }

    #[test]
    fn without_anything_closed_in_it_a_folder_is_opened_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let beside = [root.with_extension("beside"), root.join("no-such-file")];
        let program = Program::of(std::slice::from_ref(&root), &beside[..1]);
        assert_eq!(program, Program { open: BTreeSet::from([root.clone()]), listed: BTreeSet::new() });
        assert_eq!(Program::of(&beside[1..], &[]), Program::default());
        // A path that is closed, or lies in something closed, is not opened.
        let script = write(&root.join("run/client.py"), "");
        assert_eq!(Program::of(&[script, root.join("run")], &[root.join("run")]), Program::default());
    }
}
