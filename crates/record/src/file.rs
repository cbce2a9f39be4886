//! Reading the files of a run directory.

use std::{fs, io, path::Path};

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
