//! Files that are whole or absent: written beside their place, synced, renamed.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// How the name of a file begins that is not yet in its place.
const DRAFT: &str = ".new-";

/// Writes `contents` to `path` so that a reader, or a power cut, meets the old file or the new one.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(DRAFT).tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    set_usual_permissions(file.path())?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Removes what a host that was killed while it wrote has left in `folder`.
pub(crate) fn remove_drafts(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DRAFT)) {
        let _ = fs::remove_file(entry.path());
    }
}

/// Makes a rename in `folder` last through a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// A temporary file is its owner's alone; a result is not.
fn set_usual_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}
