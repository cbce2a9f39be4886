//! The files of a run directory: each is whole or absent.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use fedpipe_data::{folder_of, persist};

use crate::names::UNPLACED;

/// Reads a whole file.
///
/// # Errors
/// Returns an error for a pipe, which would wait for a writer, for a device, which has no end, and as [`fs::read`].
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    fs::read(path)
}

/// Writes `contents` to `path` so that a reader, or a power cut, meets the old file or the new one. A file system that
/// refuses to sync has the new file all the same.
///
/// # Errors
/// Returns those of the file system.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    // A temporary file is its owner's alone; a result is as the umask has it.
    let mode = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(UNPLACED).permissions(mode).tempfile_in(folder)?;
    file.write_all(contents)?;
    persist(file, path)
}

/// Removes the files in `folder` that a process left behind which was killed in [`write_whole`].
pub fn remove_drafts(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNPLACED)) {
        let _ = fs::remove_file(entry.path());
    }
}
