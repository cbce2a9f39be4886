//! Tests of partition files: written here, written by other programs, and damaged.

use std::fs;

use safetensors::tensor::{TensorView, serialize};

use super::*;
use crate::partition_file::{self, ALIGNMENT, FileMetadata};
use crate::split::{Split, SplitFeatures, SplitTargets};
use crate::testing::assert_says;

/// The hash covers the labels followed by the examples. Hashing the written file gives the same hashes.
#[test]
fn a_file_is_hashed_as_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let written = partition_file::write(&path, &examples(9), &[1, 4], &about()).unwrap();
    let content: Vec<u8> = [1, 0, 0, 0, 4, 0, 0, 0].into_iter().chain(6..12).chain(24..30).collect();
    assert_eq!(written.sha256, checksum::pieces_sha256([content.as_slice()]));
    assert_eq!(written.sha256, Partition::open(&path).unwrap().sha256());
    assert_eq!(written, partition_file::hashes(&path).unwrap());
    let bytes = fs::read(&path).unwrap();
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        fs::write(&path, altered).unwrap();
        let hashes = partition_file::hashes(&path).ok();
        assert_ne!(hashes.as_ref(), Some(&written), "byte {place}");
        assert_eq!(
            hashes.is_some_and(|hashes| hashes.sha256 == written.sha256),
            (8..bytes.len() - 20).contains(&place)
        );
    }
}

#[test]
fn another_content_than_expected_is_named_with_both_hashes_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let sha256 = partition_file::write(&path, &examples(9), &[1, 4], &about()).unwrap().sha256;
    let partition = Partition::open(&path).unwrap();
    partition.check_sha256(&sha256, &path).unwrap();
    let error = partition.check_sha256("0123456789abcdef0123", &path).unwrap_err();
    let entry = format!("delete the cache entry {} and", dir.path().display());
    assert_says(&error, &["x.safetensors", &sha256[..16], "0123456789abcdef:", &entry]);
    assert!(!error.to_string().contains(&sha256[..17]), "{error}");
}

fn about() -> FileMetadata<'static> {
    FileMetadata { dataset: "abc", classes: Some("3".to_owned()), client: "7".to_owned() }
}

fn examples(n: u32) -> Split {
    let features = SplitFeatures::U8((0..n * 6).map(|i| i as u8).collect());
    Split { shape: vec![2, 3], features, targets: SplitTargets::Classes((0..n).collect()), clients: None }
}

/// Returns a safetensors file as another program may write it.
fn foreign(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()))
        .collect();
    serialize(views, None).unwrap()
}

fn open(bytes: &[u8]) -> Result<Partition, DataError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    Partition::open(file.path())
}

fn labels(n: usize) -> (&'static str, Dtype, Vec<usize>, Vec<u8>) {
    ("labels", Dtype::U32, vec![n], (0..n as u32).flat_map(u32::to_le_bytes).collect())
}

fn targets(n: usize) -> (&'static str, Dtype, Vec<usize>, Vec<u8>) {
    ("targets", Dtype::F32, vec![n], (0..n).flat_map(|i| (i as f32 - 0.5).to_le_bytes()).collect())
}

/// The hash covers the targets followed by the examples, also as floats.
#[test]
fn a_file_of_real_targets_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let features = SplitFeatures::F32((0..8).map(|i| i as f32 / 4.0).collect());
    let split =
        Split { shape: vec![2], features, targets: SplitTargets::Real(vec![0.5, 1.5, -2.5, 3.5]), clients: None };
    let about = FileMetadata { classes: None, ..about() };
    let hashes = partition_file::write(&path, &split, &[1, 2], &about).unwrap();
    let partition = Partition::open(&path).unwrap();
    assert_eq!(partition.targets(), PartitionTargets::Real(&[1.5, -2.5]));
    assert_eq!(partition.pixels(), Pixels::F32(&[0.5, 0.75, 1.0, 1.25]));
    assert_eq!((partition.len(), partition.labels()), (2, &[][..]));
    let content: Vec<u8> = [1.5_f32, -2.5, 0.5, 0.75, 1.0, 1.25].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(hashes.sha256, checksum::pieces_sha256([content.as_slice()]));
    assert_eq!(hashes.sha256, partition.sha256());
    let bytes = fs::read(&path).unwrap();
    let (_, tensors) = SafeTensors::read_metadata(&bytes).unwrap();
    assert!(!tensors.metadata().as_ref().unwrap().contains_key("classes"));
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    partition_file::write(&path, &examples(9), &[1, 4, 8], &about()).unwrap();
    let partition = Partition::open(&path).unwrap();
    assert_eq!((partition.len(), partition.is_empty(), partition.shape()), (3, false, &[2, 3][..]));
    assert_eq!(partition.labels(), [1, 4, 8]);
    let expected: Vec<u8> = [1, 4, 8].iter().flat_map(|row| row * 6..row * 6 + 6).collect();
    assert_eq!(partition.pixels(), Pixels::U8(&expected));
    assert!(matches!(partition.targets, MappedTargets::Classes(MappedValues::Mapped(_))), "our own files are aligned");
}

#[test]
fn the_data_of_our_own_files_start_at_a_multiple_of_64() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..70 {
        let path = dir.path().join(format!("{n}.safetensors"));
        let rows: Vec<u32> = (0..n).collect();
        partition_file::write(&path, &examples(n), &rows, &about()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (header, _) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!((8 + header) % ALIGNMENT, 0);
        assert_eq!(Partition::open(&path).unwrap().len(), n as usize);
    }
}

#[test]
fn equal_partitions_are_equal_files_with_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    for path in [&a, &b] {
        partition_file::write(path, &examples(5), &[0, 2], &about()).unwrap();
    }
    let bytes = fs::read(&a).unwrap();
    assert_eq!(bytes, fs::read(&b).unwrap());
    let (_, tensors) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = tensors.metadata().as_ref().unwrap();
    assert_eq!((&*metadata["dataset"], &*metadata["classes"], &*metadata["client"]), ("abc", "3", "7"));
}

#[test]
fn a_foreign_file_of_floats_is_read() {
    let floats = [0.5_f32, -1.0, 2.0, 0.0];
    let bytes = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    let partition = open(&foreign(&[("examples", Dtype::F32, vec![2, 2], bytes), labels(2)])).unwrap();
    assert_eq!(partition.pixels(), Pixels::F32(&floats));
    assert_eq!((partition.shape(), partition.labels()), (&[2][..], &[0, 1][..]));
}

/// A header may have any length, so data may start at any address.
#[test]
fn a_foreign_file_that_is_not_aligned_is_copied() {
    for padding in 0..8 {
        let header = r#"{"examples":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"labels":{"dtype":"U32","shape":[2],"data_offsets":[8,16]}}"#;
        let header = format!("{header}{}", " ".repeat(padding));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend([1.0_f32, 2.0].iter().flat_map(|float| float.to_le_bytes()));
        bytes.extend([3_u32, 4].iter().flat_map(|label| label.to_le_bytes()));
        let partition = open(&bytes).unwrap();
        assert_eq!((partition.pixels(), partition.labels()), (Pixels::F32(&[1.0, 2.0]), &[3, 4][..]));
        let copied = matches!(partition.targets, MappedTargets::Classes(MappedValues::Copied(_)));
        assert_eq!(copied, (8 + header.len()) % 4 != 0);
    }
}

#[test]
fn other_files_are_refused() {
    let pixels = |shape: Vec<usize>| ("examples", Dtype::U8, shape.clone(), vec![0; shape.iter().product()]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"nonsense".to_vec(), "is not a partition file"),
        (Vec::new(), "is not a partition file"),
        (foreign(&[labels(2)]), "no tensor `examples`"),
        (foreign(&[pixels(vec![2, 3])]), "no tensor `labels`"),
        (foreign(&[pixels(vec![2, 3]), labels(3)]), "2 examples but 3 labels"),
        (foreign(&[("examples", Dtype::I16, vec![1, 1], vec![0; 2]), labels(1)]), "I16"),
        (foreign(&[pixels(vec![1, 1]), ("targets", Dtype::F64, vec![1], vec![0; 8])]), "`targets` has the type F64"),
        (foreign(&[pixels(vec![2, 1]), labels(2), targets(2)]), "both `labels` and `targets`"),
        (foreign(&[pixels(vec![2, 1]), targets(1)]), "2 examples but 1 target"),
        (foreign(&[pixels(vec![1, 1]), ("labels", Dtype::I64, vec![1], vec![0; 8])]), "I64"),
        (foreign(&[pixels(vec![4]), ("labels", Dtype::U32, vec![2, 2], vec![0; 16])]), "shape"),
    ];
    for (bytes, words) in cases {
        assert_says(&open(&bytes).unwrap_err(), &[words]);
    }
    let error = Partition::open(Path::new("/nowhere/x")).unwrap_err();
    assert_says(&error, &["/nowhere/x", "cannot be read"]);
}

#[test]
fn a_label_out_of_range_is_named() {
    let partition = open(&foreign(&[("examples", Dtype::U8, vec![3, 1], vec![0; 3]), labels(3)])).unwrap();
    partition.check_labels(3, Path::new("p")).unwrap();
    assert_says(&partition.check_labels(2, Path::new("p")).unwrap_err(), &["p has the label 2 at row 2", "0 to 1"]);
}
