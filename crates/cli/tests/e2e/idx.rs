//! Image sets as IDX files, valid and broken.

use std::{fs, path::Path};

use fedpipe_data::{Partition, Pixels};

pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Writes a set of 60 training and 9 test images of 2×3 in 3 classes.
pub(crate) fn write(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (file, contents) in FILES.iter().zip([images(60), labels(60), images(9), labels(9)]) {
        fs::write(folder.join(file), contents).unwrap();
    }
}

pub(crate) fn images(n: u8) -> Vec<u8> {
    file(&[n.into(), 2, 3], (0..n).flat_map(|row| [row, 1, 2, 3, 4, 5]))
}

pub(crate) fn labels(n: u8) -> Vec<u8> {
    file(&[n.into()], (0..n).map(|row| row % 3))
}

/// Writes a set whose training and test images are `rows`, four times each. The label of a row is its number.
pub(crate) fn write_rows(folder: &Path, rows: &[[u8; 2]]) {
    write_repeated(folder, rows, 4);
}

/// Writes a set whose training and test images are `rows`, so many times each. The label of a row is its number.
pub(crate) fn write_repeated(folder: &Path, rows: &[[u8; 2]], times: usize) {
    fs::create_dir_all(folder).unwrap();
    let n = (times * rows.len()) as u32;
    let images = file(&[n, 1, 2], rows.iter().flat_map(|row| row.repeat(times)));
    let labels = file(&[n], (0..rows.len() as u8).flat_map(|label| std::iter::repeat_n(label, times)));
    for (name, contents) in FILES.iter().zip([&images, &labels].into_iter().cycle()) {
        fs::write(folder.join(name), contents).unwrap();
    }
}

/// Writes the content of a partition file into two files, `names`: images, then labels.
pub(crate) fn write_like(folder: &Path, names: &[&str], partition: &Partition) {
    fs::create_dir_all(folder).unwrap();
    let Pixels::U8(pixels) = partition.pixels() else { panic!("no bytes") };
    let n = partition.len() as u32;
    let sizes: Vec<u32> = [n].into_iter().chain(partition.shape().iter().map(|&size| size as u32)).collect();
    fs::write(folder.join(names[0]), file(&sizes, pixels.iter().copied())).unwrap();
    fs::write(folder.join(names[1]), file(&[n], partition.labels().iter().map(|&label| label as u8))).unwrap();
}

fn file(sizes: &[u32], values: impl Iterator<Item = u8>) -> Vec<u8> {
    let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, if sizes.clone().count() == 4 { 1 } else { 3 }].into_iter().chain(sizes).chain(values).collect()
}
