//! What the tests share: small datasets, written as the real ones are.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// An IDX file of bytes.
pub(crate) fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    for size in sizes {
        bytes.extend_from_slice(&size.to_be_bytes());
    }
    bytes.extend_from_slice(values);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Images of 2×3 whose first pixel is their row's number, in 3 classes that take turns.
pub(crate) fn images(n: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..n).flat_map(|row| [row, 1, 2, 3, 4, 5]).collect();
    idx(&[u32::from(n), 2, 3], &values)
}

pub(crate) fn labels(n: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..n).map(|row| row % 3).collect();
    idx(&[u32::from(n)], &values)
}

/// A dataset of 60 training and 9 test images.
pub(crate) fn write_dataset(dir: &Path) {
    fs::write(dir.join("train-images-idx3-ubyte"), images(60)).unwrap();
    fs::write(dir.join("train-labels-idx1-ubyte"), labels(60)).unwrap();
    fs::write(dir.join("t10k-images-idx3-ubyte"), images(9)).unwrap();
    fs::write(dir.join("t10k-labels-idx1-ubyte"), labels(9)).unwrap();
}

/// Writes a file anew with a time that it did not have, since two writes can fall into one tick of the file system's
/// clock.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
}

/// Puts a file with other content in the place of the one at `path`, and gives it the time of modification that the old one
/// had, as a reproducible archive does. Its inode is another, as both are there for a moment.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    let time = path.metadata().unwrap().modified().unwrap();
    fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Checks that an error is one sentence as a user should meet it, and that it says each of the words.
pub(crate) fn assert_says(error: &crate::DataError, words: &[&str]) {
    let text = error.to_string();
    assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}
