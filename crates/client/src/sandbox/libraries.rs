//! The paths in which the loader finds the dependencies of a dylib.

use std::{collections::BTreeSet, ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

/// The cache that `ldconfig` writes. It lists the libraries in the directories that the administrator has chosen.
const CACHE: &str = "/etc/ld.so.cache";

/// The default directories of the loader, and those of the two distributions that keep libraries elsewhere.
const DIRECTORIES: [&str; 7] =
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store"];

/// Returns the files and directories that `dlopen` reads to load the dependencies of a dylib. Some may not exist.
///
/// `LD_LIBRARY_PATH` is ignored, since the experiment and not the environment decides which files a model may read.
pub(super) fn places() -> BTreeSet<PathBuf> {
    let mut places = BTreeSet::from(DIRECTORIES.map(PathBuf::from));
    places.insert(CACHE.into());
    if let Ok(cache) = std::fs::read(CACHE) {
        places.extend(directories(&cache).into_iter().map(|directory| PathBuf::from(OsStr::from_bytes(directory))));
    }
    places
}

/// Returns the directories of the libraries that `cache` lists. The strings of the cache end in 0. The tables before
/// them contain no path.
fn directories(cache: &[u8]) -> BTreeSet<&[u8]> {
    let strings = cache.split(|&byte| byte == 0).filter(|string| string.starts_with(b"/"));
    let split = strings.filter_map(|string| Some(string.split_at(string.iter().rposition(|&byte| byte == b'/')?)));
    let libraries = split.filter(|(_, file)| file.windows(3).any(|part| part == b".so"));
    // The directory of a library in `/` would open the whole file system.
    libraries.map(|(directory, _)| directory).filter(|directory| !directory.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_the_directories_of_its_libraries() {
        let cache = b"ld.so-1.7.0\0\0/x\0\x03\0libm.so.6\0/opt/a/lib/libm.so.6\0/opt/b/libc.so\0/opt/b/libd.so.1\0/e.so\0/f/g\0";
        let found: Vec<_> = directories(cache).into_iter().collect();
        assert_eq!(found, [b"/opt/a/lib".as_slice(), b"/opt/b"]);
    }
}
