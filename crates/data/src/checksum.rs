//! SHA-256 hashes, and stamps of files.
//!
//! A file with an unchanged stamp is not hashed again. If the stamp differs, the content is hashed and the hash
//! decides.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The metadata of a file. While the stamp is the same, the content is the same.
///
/// Size and time of modification are not sufficient, since programs set that time: npm, nix and reproducible archives
/// give all files the same one. No program sets `changed`, and a file that replaces another has another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    /// mtime: seconds and nanoseconds.
    modified: (i64, i64),
    /// ctime: seconds and nanoseconds.
    changed: (i64, i64),
    inode: u64,
    /// The device number, which may change at a reboot.
    device: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&path.metadata()?))
    }

    pub(crate) fn new(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }
}

/// A reader or writer that hashes the bytes that pass.
#[derive(Debug)]
pub(crate) struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Returns the SHA-256 of all bytes that passed, in hexadecimal.
    pub(crate) fn finish(self) -> String {
        hexadecimal(&self.hasher.finalize())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns the SHA-256 of a file, in hexadecimal.
pub(crate) fn of_file(path: &Path) -> io::Result<String> {
    of_reader(File::open(path)?)
}

/// Returns the SHA-256 of all bytes of a reader, in hexadecimal.
pub(crate) fn of_reader(reader: impl Read) -> io::Result<String> {
    let mut reader = Hashing::new(reader);
    let mut buffer = vec![0; 1 << 16];
    while reader.read(&mut buffer)? > 0 {}
    Ok(reader.finish())
}

/// Returns the SHA-256 of a text, in hexadecimal.
pub(crate) fn of_text(text: &str) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

/// Returns the SHA-256 of the concatenated pieces, in hexadecimal.
pub fn pieces_sha256<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut hasher = Sha256::new();
    pieces.into_iter().for_each(|piece| hasher.update(piece));
    hexadecimal(&hasher.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::replace;

    #[test]
    fn known_hashes() {
        assert_eq!(of_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        assert_eq!(of_file(file.path()).unwrap(), of_text("abc"));
    }

    #[test]
    fn written_bytes_are_hashed() {
        let mut writer = Hashing::new(Vec::new());
        writer.write_all(b"ab").unwrap();
        writer.write_all(b"c").unwrap();
        assert_eq!(writer.inner, b"abc");
        assert_eq!(writer.finish(), of_text("abc"));
    }

    #[test]
    fn a_stamp_is_kept_by_json_and_differs_if_one_field_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = Stamp::of(file.path()).unwrap();
        let json = serde_json::to_string(&stamp).unwrap();
        assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
        let others = [
            Stamp { bytes: 1, ..stamp },
            Stamp { modified: (0, 0), ..stamp },
            Stamp { changed: (0, 0), ..stamp },
            Stamp { inode: 0, ..stamp },
            Stamp { device: stamp.device + 1, ..stamp },
        ];
        assert!(others.iter().all(|other| *other != stamp), "{others:?}");
    }

    /// The content, the size and the time of modification are the same; only the inode differs.
    #[test]
    fn a_stamp_distinguishes_a_file_from_its_replacement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let before = Stamp::of(&path).unwrap();
        replace(&path, b"abc");
        let after = Stamp::of(&path).unwrap();
        assert_eq!((before.bytes, before.modified), (after.bytes, after.modified));
        assert_ne!(before, after);
    }
}
