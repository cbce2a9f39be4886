//! Helpers of the tests: small datasets in the real formats.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Returns an IDX file of bytes.
pub(crate) fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    idx_of(8, sizes, values)
}

/// Returns an IDX file of the type with this code.
pub(crate) fn idx_of(code: u8, sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, code, sizes.len() as u8];
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

/// Returns an IDX file of images of 2×3. The first pixel of an image is its row. The rows alternate between 3 classes.
pub(crate) fn images(n: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..n).flat_map(|row| [row, 1, 2, 3, 4, 5]).collect();
    idx(&[u32::from(n), 2, 3], &values)
}

pub(crate) fn labels(n: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..n).map(|row| row % 3).collect();
    idx(&[u32::from(n)], &values)
}

/// Writes a dataset of 60 training and 9 test images.
pub(crate) fn write_dataset(dir: &Path) {
    fs::write(dir.join("train-images-idx3-ubyte"), images(60)).unwrap();
    fs::write(dir.join("train-labels-idx1-ubyte"), labels(60)).unwrap();
    fs::write(dir.join("t10k-images-idx3-ubyte"), images(9)).unwrap();
    fs::write(dir.join("t10k-labels-idx1-ubyte"), labels(9)).unwrap();
}

/// Rewrites a file and sets another time of modification, since two writes can fall into one tick of the clock.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
}

/// Replaces the file at `path` by one with other content and the same time of modification, as a reproducible archive
/// does. The new file has another inode, since both exist for a moment.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    let time = path.metadata().unwrap().modified().unwrap();
    fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
    fs::rename(&new, path).unwrap();
}

/// Checks that an error is one sentence and contains each of the words.
pub(crate) fn assert_says(error: &crate::error::DataError, words: &[&str]) {
    let text = error.to_string();
    assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}
