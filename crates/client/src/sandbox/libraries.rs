//! Where the loader finds a dylib's dependencies.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

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
        places.extend(directories(&cache).into_iter().map(Path::to_owned));
    }
    places
}

/// The directories of the libraries that `cache` names. Its strings end in 0; the tables before them are no paths.
fn directories(cache: &[u8]) -> BTreeSet<&Path> {
    let strings = cache.split(|&byte| byte == 0).filter(|string| string.starts_with(b"/"));
    let libraries = strings.filter(|string| string.windows(3).any(|part| part == b".so"));
    let parents = libraries.filter_map(|string| Path::new(OsStr::from_bytes(string)).parent());
    parents.filter(|parent| parent.parent().is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_gives_the_directories_of_its_libraries() {
        let cache = b"ld.so-1.7.0\0\0/x\0\x03\0libm.so.6\0/opt/a/lib/libm.so.6\0/opt/b/libc.so\0/opt/b/libd.so.1\0/e.so\0/f/g\0";
        let found: Vec<_> = directories(cache).into_iter().collect();
        // Neither `/`, of which a library there would open all, nor what is no library.
        assert_eq!(found, [Path::new("/opt/a/lib"), Path::new("/opt/b")]);
    }
}
