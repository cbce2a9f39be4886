//! Where the loader finds a dylib's dependencies.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

/// Written by `ldconfig`: every library in the directories that the system's administrator has named.
const CACHE: &str = "/etc/ld.so.cache";

/// The loader's own directories, and those of the two distributions that keep libraries elsewhere.
const DIRECTORIES: [&str; 7] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store"];

/// Files and directories to be readable so that `dlopen` finds what a dylib of this system needs; some may not exist.
///
/// `LD_LIBRARY_PATH` is not among them: what a model may read follows from the experiment, not from the environment.
pub(super) fn places() -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::from(DIRECTORIES.map(PathBuf::from));
    places.insert(CACHE.into());
    if let Ok(cache) = std::fs::read(CACHE) {
        places.extend(directories(&cache).into_iter().map(|directory| PathBuf::from(OsStr::from_bytes(directory))));
    }
    places
}

/// The directories of the libraries that `cache` names. Its strings end in 0; the tables before them are no paths.
fn directories(cache: &[u8]) -> BTreeSet<&[u8]> {
    let strings = cache.split(|&byte| byte == 0).filter(|string| string.starts_with(b"/"));
    let split = strings.filter_map(|string| Some(string.split_at(string.iter().rposition(|&byte| byte == b'/')?)));
    let libraries = split.filter(|(_, file)| file.windows(3).any(|part| part == b".so"));
    // A library in `/` itself would open everything.
    libraries.map(|(directory, _)| directory).filter(|directory| !directory.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_gives_the_directories_of_its_libraries() {
        let cache = b"ld.so-1.7.0\0\0/x\0\x03\0libm.so.6\0/opt/a/lib/libm.so.6\0/opt/b/libc.so\0/opt/b/libd.so.1\0/e.so\0/f/g\0";
        let found: Vec<_> = directories(cache).into_iter().collect();
        assert_eq!(found, [b"/opt/a/lib".as_slice(), b"/opt/b"]);
    }
}
