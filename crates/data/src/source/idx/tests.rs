//! Tests of datasets in a directory: spellings, identities and refusals.

use std::fs;

use super::*;
use crate::cache::Cache;
use crate::dataset::DatasetTarget;
use crate::source::{FoundSource, Reading, Source};
use crate::split::SplitFeatures;
use crate::testing::{assert_says, gzip, idx, idx_of, images, labels, replace, rewrite, write_dataset};

fn setting() -> (tempfile::TempDir, PathBuf, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("my-data");
    fs::create_dir(&data).unwrap();
    write_dataset(&data);
    let cache = Cache::at(dir.path().join("cache"));
    (dir, data, cache)
}

fn load(data: &Path, cache: &Cache) -> Result<Dataset, DataError> {
    let reading = Reading::default();
    found(data, &reading)?.load(cache, &mut |_| ())
}

fn found<'a>(data: &Path, reading: &'a Reading) -> Result<FoundSource<'a>, DataError> {
    FoundSource::find(&Source::Path(data.to_owned()), reading, Portion::Whole)
}

#[test]
fn a_directory_is_read() {
    let (_dir, data, cache) = setting();
    let dataset = load(&data, &cache).unwrap();
    let info = &dataset.info;
    assert_eq!(
        (info.name.as_str(), info.shape.as_slice(), &info.target),
        ("my-data", &[2, 3][..], &DatasetTarget::classes(3))
    );
    assert_eq!((info.train_examples, info.test_examples, info.sample), (60, 9, false));
    let SplitFeatures::U8(pixels) = &dataset.train.features else { panic!("no bytes") };
    assert_eq!(pixels[6..12], [1, 1, 2, 3, 4, 5]);
    assert_eq!(dataset.test.labels(), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    assert_eq!(info.range, Some([0.0, 59.0]));
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
    let reading = Reading::default();
    let cached = || found(&data, &reading).unwrap().cached_identity(&cache);
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
    load_published("x", &data, &sha256).unwrap();
    replace(&data.join(FILES[3]), &idx(&[9], &[1; 9]));
    let error = load_published("x", &data, &sha256).unwrap_err();
    assert_says(&error, &["my-data are altered", &sha256, "delete them"]);
}

/// The documentation defines the identity as `sha256sum FILES | sha256sum`.
#[test]
fn the_identity_is_that_of_the_list_of_hashes() {
    let (_dir, data, cache) = setting();
    let lines = FILES.map(|file| format!("{}  {file}\n", crate::checksum::of_file(&data.join(file)).unwrap())).concat();
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
        &["train-images-idx3-ubyte holds 60 examples", "train-labels-idx1-ubyte holds 59 labels"],
    ),
    (
        "a truncated file",
        |data| fs::write(data.join("t10k-images-idx3-ubyte"), &images(9)[..40]).unwrap(),
        &["t10k-images-idx3-ubyte is truncated", "70 bytes", "it has 40"],
    ),
    (
        "a label beyond all classes",
        |data| {
            fs::write(data.join("t10k-labels-idx1-ubyte"), idx_of(0x0c, &[9], &70_000_i32.to_be_bytes().repeat(9)))
                .unwrap()
        },
        &["t10k-labels-idx1-ubyte has the label 70000 at row 0", "--target real"],
    ),
    (
        "a negative label",
        |data| fs::write(data.join("train-labels-idx1-ubyte"), idx_of(0x09, &[60], &[255; 60])).unwrap(),
        &["train-labels-idx1-ubyte has the label -1 at row 0", "--target real"],
    ),
    (
        "test images of another type",
        |data| fs::write(data.join("t10k-images-idx3-ubyte"), idx_of(0x09, &[9, 2, 3], &[1; 54])).unwrap(),
        &["t10k-images-idx3-ubyte", "are F32", "are U8"],
    ),
    (
        "several labels an example",
        |data| fs::write(data.join("train-labels-idx1-ubyte"), idx(&[60, 2], &[0; 120])).unwrap(),
        &["[60, 2]", "one label an example"],
    ),
    (
        "a feature that is no number",
        |data| {
            let values: Vec<u8> = (0..54).flat_map(|i| if i == 10 { f32::NAN } else { 1.0 }.to_be_bytes()).collect();
            fs::write(data.join("t10k-images-idx3-ubyte"), idx_of(0x0d, &[9, 2, 3], &values)).unwrap();
        },
        &["t10k-images-idx3-ubyte has the value NaN in row 1, feature 4"],
    ),
    (
        "two datasets",
        |data| fs::write(data.join("emnist-letters-train-images-idx3-ubyte"), "").unwrap(),
        &["holds several datasets (train-…, emnist-letters)", "one of them"],
    ),
    (
        "no file of a dataset",
        |data| FILES.iter().for_each(|file| fs::remove_file(data.join(file)).unwrap()),
        &["no dataset that a reader recognises", "fedpipe data list"],
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
    (
        "no directory",
        |data| fs::remove_dir_all(data).unwrap(),
        &["there is no file or directory", "my-data", "fashion-mnist"],
    ),
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
        "emnist-balanced-test-images-idx3-ubyte.gz",
        "qmnist-train-labels-idx2-int",
        "TRAIN-IMAGES-IDX3-UBYTE",
        "x-train-images-idx2-float",
    ] {
        assert!(is_idx(OsStr::new(name)), "{name}");
    }
    for name in [
        "train-labels-idx3-ubyte",
        "train-images",
        "train-images-idx3-ubyte.zip",
        "train-images-idx5-ubyte",
        "valid-images-idx3-ubyte",
        "train-images-idx",
        "",
    ] {
        assert!(!is_idx(OsStr::new(name)), "{name}");
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

/// Moves the four files of a dataset to other names.
fn rename(data: &Path, directory: &str, names: [&str; 4]) {
    let place = data.join(directory);
    fs::create_dir_all(&place).unwrap();
    for (from, to) in FILES.iter().zip(names) {
        let bytes = fs::read(data.join(from)).unwrap();
        fs::write(place.join(to), if to.ends_with(".gz") { gzip(&bytes) } else { bytes }).unwrap();
        fs::remove_file(data.join(from)).unwrap();
    }
}

/// The names and folders are those of EMNIST's and QMNIST's publishers, of torchvision, and of upper-case archives.
#[test]
fn the_names_of_others_are_the_same_dataset() {
    let emnist = [
        "emnist-balanced-train-images-idx3-ubyte.gz",
        "emnist-balanced-train-labels-idx1-ubyte.gz",
        "emnist-balanced-test-images-idx3-ubyte.gz",
        "emnist-balanced-test-labels-idx1-ubyte.gz",
    ];
    let upper =
        ["TRAIN-IMAGES-IDX3-UBYTE", "TRAIN-LABELS-IDX1-UBYTE", "T10K-IMAGES-IDX3-UBYTE", "T10K-LABELS-IDX1-UBYTE"];
    for (directory, names) in [("", emnist), ("", upper), ("raw", FILES), ("MNIST/raw", FILES)] {
        let (_dir, data, cache) = setting();
        let plain = load(&data, &cache).unwrap();
        rename(&data, directory, names);
        let renamed = load(&data, &cache).unwrap_or_else(|error| panic!("{names:?}: {error}"));
        assert_eq!((renamed.info, renamed.train), (plain.info, plain.train));
    }
}

#[test]
fn several_datasets_of_torchvision_are_named() {
    let (_dir, data, cache) = setting();
    for name in ["MNIST", "KMNIST"] {
        let raw = data.join(name).join("raw");
        fs::create_dir_all(&raw).unwrap();
        for file in FILES {
            fs::copy(data.join(file), raw.join(file)).unwrap();
        }
    }
    FILES.iter().for_each(|file| fs::remove_file(data.join(file)).unwrap());
    assert_says(&load(&data, &cache).unwrap_err(), &["several datasets", "my-data/KMNIST/raw", "my-data/MNIST/raw"]);
    assert_eq!(load(&data.join("MNIST"), &cache).unwrap().train.len(), 60);
}

/// The label file of QMNIST has eight columns: the first is the label, the third the writer.
#[test]
fn qmnist_has_labels_and_writers() {
    let (_dir, data, cache) = setting();
    let rows = |n: u32| -> Vec<u8> {
        (0..n).flat_map(|row| [row % 3, 9, 100 + row % 2, 9, 9, 9, 9, 9]).flat_map(u32::to_be_bytes).collect()
    };
    let write = |name: &str, n: u32| fs::write(data.join(name), idx_of(0x0c, &[n, 8], &rows(n))).unwrap();
    write("qmnist-train-labels-idx2-int", 60);
    write("qmnist-test-labels-idx2-int", 9);
    for (from, to) in [("train", "train"), ("t10k", "test")] {
        let to = data.join(format!("qmnist-{to}-images-idx3-ubyte"));
        fs::rename(data.join(format!("{from}-images-idx3-ubyte")), to).unwrap();
        fs::remove_file(data.join(format!("{from}-labels-idx1-ubyte"))).unwrap();
    }
    let train = load(&data, &cache).unwrap().train;
    assert_eq!(train.labels()[..4], [0, 1, 2, 0]);
    let clients = train.clients.unwrap();
    assert_eq!(clients.names, ["100", "101"]);
    assert_eq!(clients.of_row[..4], [0, 1, 0, 1]);
}

#[test]
fn real_targets_are_read_if_they_are_asked_for() {
    let (_dir, data, cache) = setting();
    for (file, n) in [(FILES[1], 60), (FILES[3], 9)] {
        let values: Vec<u8> = (0..n).flat_map(|i| (i as f32 / 4.0).to_be_bytes()).collect();
        fs::write(data.join(file), idx_of(0x0d, &[n as u32], &values)).unwrap();
    }
    assert_says(&load(&data, &cache).unwrap_err(), &["the label 0.25 at row 1", "--target real"]);
    let reading = Reading { target: TargetKind::Real, ..Reading::default() };
    let dataset = found(&data, &reading).unwrap().load(&cache, &mut |_| ()).unwrap();
    assert_eq!(dataset.info.target, DatasetTarget::REAL);
    assert_eq!(dataset.test.targets, crate::split::SplitTargets::Real((0..9).map(|i| i as f32 / 4.0).collect()));
}
