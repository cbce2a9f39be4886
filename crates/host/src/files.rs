//! Files that are whole or absent: written beside their place, synced, renamed.

use std::{
    io::{self, Write},
    path::Path,
};

/// Writes `contents` to `path` so that a reader, or a power cut, meets the old file or the new one.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    set_usual_permissions(file.path())?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes a rename in `folder` last through a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// A temporary file is its owner's alone; a result is not.
fn set_usual_permissions(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}
