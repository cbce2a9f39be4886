//! The file of this command. Client processes are started from this file, and models lie beside it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead},
    os::{
        fd::{AsRawFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// The file that the kernel executed, also if another file has its name now.
const EXECUTED: &str = "/proc/self/exe";

/// Returns the file of this command. For a command that was started through the dynamic loader
/// (`/lib64/ld-linux-x86-64.so.2 fedpipe run …`), the kernel executed another file.
pub(crate) fn path() -> io::Result<PathBuf> {
    let here = path as fn() -> io::Result<PathBuf> as usize;
    for line in io::BufReader::new(File::open("/proc/self/maps")?).split(b'\n') {
        if let Some(file) = mapped(&line?, here) {
            return Ok(file);
        }
    }
    std::env::current_exe()
}

/// Returns the file in a line of `/proc/self/maps`, if `address` is in its range.
fn mapped(line: &[u8], address: usize) -> Option<PathBuf> {
    let range = str::from_utf8(line.split(|&byte| byte == b' ').next()?).ok()?;
    let (start, end) = range.split_once('-')?;
    let bound = |text| usize::from_str_radix(text, 16).ok();
    // No field before the path has a slash.
    let slash = line.iter().position(|&byte| byte == b'/')?;
    (bound(start)?..bound(end)?).contains(&address).then(|| OsStr::from_bytes(&line[slash..]).into())
}

/// Returns the path that a client process executes: the file of this process, also if that file was replaced since.
pub(crate) fn executable() -> PathBuf {
    static LOADED: LazyLock<Option<File>> = LazyLock::new(|| {
        let own = path().ok()?;
        let is_executed = fs::read_link(EXECUTED).is_ok_and(|executed| executed == own);
        if is_executed { None } else { File::open(own).ok() }
    });
    // The descriptor is closed on exec, so a client process does not keep it.
    LOADED.as_ref().map_or_else(|| Path::new(EXECUTED).to_owned(), |file| descriptor(file.as_raw_fd()))
}

fn descriptor(number: RawFd) -> PathBuf {
    format!("/proc/self/fd/{number}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_line_is_found_by_an_address_in_its_range() {
        let line = b"55d0-55e0 r-xp 00002000 fe:01 1234                       /opt/a b/fedpipe";
        assert_eq!(mapped(line, 0x55d0).unwrap(), Path::new("/opt/a b/fedpipe"));
        assert_eq!(mapped(line, 0x55df).unwrap(), Path::new("/opt/a b/fedpipe"));
        for (line, address) in [(&line[..], 0x55e0), (b"55d0-55e0 r-xp 0 0:0 0 [heap]", 0x55d0), (b"", 0)] {
            assert_eq!(mapped(line, address), None);
        }
        assert_eq!(path().unwrap(), std::env::current_exe().unwrap());
        assert_eq!(executable(), Path::new(EXECUTED));
    }
}
