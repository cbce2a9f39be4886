//! The part of the file system that a program of the user's may read: the paths that the host opens, except those that
//! it closes.

use std::{
    collections::BTreeSet,
    fs,
    ops::Bound,
    path::{Path, PathBuf},
};

use fedpipe_protocol::LEDGER;
use serde::{Deserialize, Serialize};

/// The paths that a program may read and execute, in addition to its data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProgramAccess {
    /// The files, and the folders with all their contents.
    pub open: BTreeSet<PathBuf>,
    /// The folders that may be listed, with the folders below. An interpreter lists folders to find a module.
    pub listed: BTreeSet<PathBuf>,
}

impl ProgramAccess {
    /// Opens the files and folders of `open`, except those of `closed`, whose paths have no symbolic links.
    ///
    /// A folder that contains a closed path may be listed, and its other entries are opened one by one.
    pub fn new(open: &[PathBuf], closed: &[PathBuf]) -> Self {
        let mut opening = Opening { closed: closed.iter().cloned().collect(), program: Self::default() };
        open.iter().for_each(|path| opening.open(path));
        opening.program
    }
}

struct Opening {
    closed: BTreeSet<PathBuf>,
    program: ProgramAccess,
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
        // A symbolic link may lead to a folder that was visited before.
        if !self.program.listed.insert(path.clone()) {
            return;
        }
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let entries = entries.filter_map(|entry| entry.path().canonicalize().ok());
        // A symbolic link may lead outside. A folder with a ledger is a run that began after the host looked for runs.
        for entry in entries.filter(|entry| entry.starts_with(&path) && !entry.join(LEDGER).exists()) {
            self.open(&entry);
        }
    }

    /// Returns `true` for a folder that contains a closed path. In the order of paths, the contents follow the folder.
    fn holds_closed(&self, path: &Path) -> bool {
        let after = (Bound::Excluded(path), Bound::Unbounded);
        self.closed.range::<Path, _>(after).next().is_some_and(|next| next.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sandbox::test_files::write_file;

    fn is_open(program: &ProgramAccess, file: &Path) -> bool {
        file.canonicalize().unwrap().ancestors().any(|above| program.open.contains(above))
    }

    #[test]
    fn a_folder_is_opened_except_its_closed_paths() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let open =
            ["client.py", "parts/model.py", "deep/beside.py", "deep/down/beside.py", "data/notes.txt", "deeper/x.py"];
        let open = open.map(|name| write_file(&root.join(name), ""));
        let closed = ["deep/cache/partitions/0", "deep/down/run/model.safetensors", "data/train-images-idx3-ubyte"];
        let closed = closed.map(|name| write_file(&root.join(name), ""));
        let later = write_file(&root.join("deep/later/ledger.jsonl"), "");
        symlink(&root, root.join("parts/up")).unwrap();
        symlink(root.join("deep"), root.join("link")).unwrap();
        symlink(root.join("data"), root.join("deep/data")).unwrap();
        let paths = [root.join("deep/cache"), root.join("deep/down/run"), closed[2].clone()];
        let program = ProgramAccess::new(std::slice::from_ref(&root), &paths);
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
    fn a_folder_without_closed_paths_is_opened_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let beside = [root.with_extension("beside"), root.join("no-such-file")];
        let program = ProgramAccess::new(std::slice::from_ref(&root), &beside[..1]);
        assert_eq!(program, ProgramAccess { open: BTreeSet::from([root.clone()]), listed: BTreeSet::new() });
        assert_eq!(ProgramAccess::new(&beside[1..], &[]), ProgramAccess::default());
        // A closed path and all paths below it stay closed.
        let script = write_file(&root.join("run/client.py"), "");
        assert_eq!(ProgramAccess::new(&[script, root.join("run")], &[root.join("run")]), ProgramAccess::default());
    }
}
