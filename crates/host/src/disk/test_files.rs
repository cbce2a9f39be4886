//! Files that tests write. The tests of `fedpipe-client` include this file, too.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Writes a file and the folders above it. Returns its path without symbolic links.
pub(crate) fn write_file(path: &Path, text: &str) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    path.canonicalize().unwrap()
}
