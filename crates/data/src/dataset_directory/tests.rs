//! Tests of datasets in a directory: spellings, identities and refusals.

use std::fs;

use super::*;
use crate::dataset::Portion;
use crate::testing::{assert_says, gzip, idx, images, labels, replace, rewrite, write_dataset};

fn setting() -> (tempfile::TempDir, PathBuf, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("my-data");
    fs::create_dir(&data).unwrap();
    write_dataset(&data);
    let cache = Cache::at(dir.path().join("cache"));
    (dir, data, cache)
}

fn load(data: &Path, cache: &Cache) -> Result<Dataset, DataError> {
    Directory::find(data, Portion::Whole)?.load(cache, &mut |_| ())
}

#[test]
fn a_directory_is_read() {
    let (_dir, data, cache) = setting();
    let dataset = load(&data, &cache).unwrap();
    let info = &dataset.info;
    assert_eq!((info.name.as_str(), info.shape.as_slice(), info.classes), ("my-data", &[2, 3][..], 3));
    assert_eq!((info.train_examples, info.test_examples, info.sample), (60, 9, false));
    assert_eq!(dataset.train.pixels[6..12], [1, 1, 2, 3, 4, 5]);
    assert_eq!(dataset.test.labels, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn gzip_and_the_other_spelling_are_the_same_dataset() {
    let (_dir, data, cache) = setting();
    let plain = load(&data, &cache).unwrap();
    let packed = gzip(&fs::read(data.join("train-images-idx3-ubyte")).unwrap());
    fs::write(data.join("train-images-idx3-ubyte.gz"), packed).unwrap();
    fs::remove_file(data.join("train-images-idx3-ubyte")).unwrap();
    fs::rename(data.join("t10k-labels-idx1-ubyte"), data.join("t10k-labels.idx1-ubyte")).unwrap();
    assert_eq!(load(&data, &cache).unwrap(), plain);
}

#[test]
fn a_colour_set_is_read() {
    let (_dir, data, cache) = setting();
    for (stem, n) in [("train", 60), ("t10k", 9)] {
        fs::remove_file(data.join(format!("{stem}-images-idx3-ubyte"))).unwrap();
        let bytes = idx(&[n, 2, 2, 3], &vec![1; n as usize * 12]);
        fs::write(data.join(format!("{stem}-images-idx4-ubyte")), bytes).unwrap();
    }
    assert_eq!(load(&data, &cache).unwrap().info.shape, [2, 2, 3]);
}

#[test]
fn an_identity_is_cached_until_a_file_changes() {
    let (_dir, data, cache) = setting();
    let cached = || Directory::find(&data, Portion::Whole).unwrap().cached_identity(&cache);
    assert_eq!(cached(), None);
    let first = load(&data, &cache).unwrap().info.sha256;
    assert_eq!(cached(), Some(first.clone()));
    rewrite(&data.join("t10k-images-idx3-ubyte"), &images(9));
    assert_eq!(cached(), None, "the stamp changed");
    assert_eq!(load(&data, &cache).unwrap().info.sha256, first, "the content did not");
}

#[test]
fn a_dataset_without_its_published_identity_is_refused() {
    let (_dir, data, cache) = setting();
    let sha256 = load(&data, &cache).unwrap().info.sha256;
    let paths = crate::dataset::FILES.map(|file| data.join(file));
    super::load("x", &paths, Portion::Whole, Some(&sha256)).unwrap();
    replace(&paths[3], &idx(&[9], &[1; 9]));
    let error = super::load("x", &paths, Portion::Whole, Some(&sha256)).unwrap_err();
    assert_says(&error, &["my-data are altered", &sha256, "delete them"]);
}

/// The documentation defines the identity as `sha256sum FILES | sha256sum`.
#[test]
fn the_identity_is_that_of_the_list_of_hashes() {
    let (_dir, data, cache) = setting();
    let lines = crate::dataset::FILES
        .map(|file| format!("{}  {file}\n", crate::checksum::of_file(&data.join(file)).unwrap()))
        .concat();
    assert_eq!(load(&data, &cache).unwrap().info.sha256, crate::checksum::of_text(&lines));
}

type Change = (&'static str, fn(&Path), &'static [&'static str]);

const CHANGES: &[Change] = &[
    (
        "a missing file",
        |data| fs::remove_file(data.join("train-labels-idx1-ubyte")).unwrap(),
        &["training labels", "train-labels-idx1-ubyte, train-labels.idx1-ubyte", ".gz"],
    ),
    (
        "another number of labels",
        |data| fs::write(data.join("train-labels-idx1-ubyte"), labels(59)).unwrap(),
        &["train-images-idx3-ubyte holds 60 images", "train-labels-idx1-ubyte holds 59 labels"],
    ),
    (
        "a truncated file",
        |data| fs::write(data.join("t10k-images-idx3-ubyte"), &images(9)[..40]).unwrap(),
        &["t10k-images-idx3-ubyte is truncated", "70 bytes", "it has 40"],
    ),
    (
        "labels in place of images",
        |data| fs::write(data.join("t10k-images-idx3-ubyte"), labels(9)).unwrap(),
        &["t10k-images-idx3-ubyte is not an IDX file of images"],
    ),
    (
        "a test label beyond the classes",
        |data| fs::write(data.join("t10k-labels-idx1-ubyte"), idx(&[9], &[0, 1, 2, 0, 3, 0, 0, 0, 0])).unwrap(),
        &["t10k-labels-idx1-ubyte has the label 3 at row 4", "0 to 2"],
    ),
    (
        "test images of another shape",
        |data| fs::write(data.join("t10k-images-idx3-ubyte"), idx(&[9, 3, 2], &[0; 54])).unwrap(),
        &["t10k-images-idx3-ubyte", "[3, 2]", "[2, 3]"],
    ),
    (
        "no examples",
        |data| fs::write(data.join("t10k-images-idx3-ubyte"), idx(&[0, 2, 3], &[])).unwrap(),
        &["t10k-images-idx3-ubyte holds no examples"],
    ),
    ("no directory", |data| fs::remove_dir_all(data).unwrap(), &["there is no directory", "my-data", "fashion-mnist"]),
];

#[test]
fn a_wrong_directory_is_refused() {
    for (what, change, words) in CHANGES {
        let (_dir, data, cache) = setting();
        change(&data);
        match load(&data, &cache) {
            Ok(_) => panic!("{what} was not refused"),
            Err(error) => assert_says(&error, words),
        }
    }
}

#[test]
fn the_files_of_a_dataset_are_known_by_name_in_each_spelling() {
    for name in [
        "train-images-idx3-ubyte",
        "train-images.idx4-ubyte.gz",
        "train-labels.idx1-ubyte",
        "t10k-images-idx4-ubyte",
        "t10k-labels-idx1-ubyte.gz",
    ] {
        assert!(is_dataset_file(OsStr::new(name)), "{name}");
    }
    for name in
        ["train-labels-idx3-ubyte", "train-images", "train-images-idx3-ubyte.zip", "my-t10k-images-idx3-ubyte", ""]
    {
        assert!(!is_dataset_file(OsStr::new(name)), "{name}");
    }
}

#[test]
fn gzip_is_known_by_its_contents_and_a_page_that_was_saved_instead_is_named() {
    let (_dir, data, cache) = setting();
    let plain = load(&data, &cache).unwrap();
    let path = data.join("train-images-idx3-ubyte");
    fs::write(&path, gzip(&fs::read(&path).unwrap())).unwrap();
    assert_eq!(load(&data, &cache).unwrap().info, plain.info);
    fs::remove_file(&path).unwrap();
    fs::write(data.join("train-images-idx3-ubyte.gz"), "<!DOCTYPE html>").unwrap();
    assert_says(&load(&data, &cache).unwrap_err(), &["is no gzip file", "\"<!DOCTYP\"", "fetch it again"]);
}

#[test]
fn a_pipe_is_no_dataset() {
    let (_dir, data, cache) = setting();
    let path = data.join("t10k-labels-idx1-ubyte");
    fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_says(&load(&data, &cache).unwrap_err(), &["t10k-labels-idx1-ubyte is no regular file"]);
}
