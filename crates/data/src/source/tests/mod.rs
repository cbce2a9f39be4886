//! Tests of the sources and their readers.

mod refused_files;
mod wild_files;

use std::fs;
use std::io::Write;

use image::{DynamicImage, GrayImage, Rgb, RgbImage};

use super::*;
use crate::dataset::{DatasetTarget, FeatureType};
use crate::split::{Split, SplitFeatures, SplitTargets};
use crate::testing::{assert_says, gzip};

#[test]
fn a_source_is_read_as_it_is_written() {
    for text in ["fashion-mnist", "sample", "some/dir", "./sample", "/x", "fcube", "synthetic:alpha=0.5,beta=0"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    assert_eq!(Source::Path("sample".into()).to_string(), "./sample");
    assert_eq!(Source::Path("fcube".into()).to_string(), "./fcube");
    assert!("synthetic:alpha=-1,beta=0".parse::<Source>().unwrap_err().to_string().contains("alpha=-1"));
    assert!("".parse::<Source>().unwrap_err().to_string().contains("fashion-mnist"));
}

#[test]
fn a_source_has_a_place_or_none() {
    let place = |text: &str| text.parse::<Source>().unwrap().place().map(Path::to_owned);
    assert_eq!(place("some/dir"), Some("some/dir".into()));
    assert_eq!(place("fashion-mnist"), Some("/usr/share/datasets/fashion-mnist".into()));
    assert_eq!(place("sample"), None);
}

/// Returns a NumPy array as `numpy.save` writes it.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), values].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns the members of an `.npz` file, as `numpy.savez_compressed` writes it.
fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, bytes) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Four rows of two features in two classes, and two test rows, under the names of Keras.
fn arrays() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x_train.npy", npy("<f4", "(4, 2)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]))),
        ("y_train.npy", npy("|u1", "(4,)", &[0, 1, 1, 0])),
        ("x_test.npy", npy("<f4", "(2, 2)", &floats(&[1.5, 2.5, 3.5, 4.5]))),
        ("y_test.npy", npy("|u1", "(2, 1)", &[1, 0])),
    ]
}

fn grey(value: u8) -> DynamicImage {
    DynamicImage::ImageLuma8(GrayImage::from_pixel(3, 2, image::Luma([value])))
}

fn colour(value: u8) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_pixel(3, 2, Rgb([value, 0, 9])))
}

fn png(image: &DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

const TABLE: &str = "age,sex,size,who\n1,m,0.5,b\n2,f,1.5,a\n3,f,2.5,b\n4,m,3.5,c\n";

/// The files of a directory, by their paths in it.
type Files = Vec<(&'static str, Vec<u8>)>;

/// Reads a dataset of these files, at a path in their directory.
fn load(files: &Files, path: &str, reading: &Reading) -> Result<Dataset, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("set");
    for (name, bytes) in files {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
    let mut reading = reading.clone();
    reading.test_data = reading.test_data.map(|path| folder.join(path));
    let found = FoundSource::find(&Source::Path(folder.join(path)), &reading, Portion::Whole)?;
    found.load(&Cache::at(folder.join("cache")), &mut |_| ())
}

fn by_label(label: &str) -> Reading {
    Reading { label: Some(label.into()), ..Reading::default() }
}

fn who(label: &str) -> Reading {
    Reading { client_column: Some("who".into()), ..by_label(label) }
}

fn drawn(fraction: f64) -> Option<TestSplit> {
    Some(TestSplit { fraction, seed: 1 })
}

fn values(split: &Split) -> &[f32] {
    match &split.features {
        SplitFeatures::F32(values) => values,
        SplitFeatures::U8(_) => panic!("bytes"),
    }
}

#[test]
fn numpy_arrays_are_read_from_files_and_from_an_archive() {
    let names = ["train-images.npy", "Train.Labels.npy", "images_test.npy", "test_y.npy"];
    let mut renamed: Files = names.into_iter().zip(arrays()).map(|(name, (_, bytes))| (name, bytes)).collect();
    renamed.push(("val_images.npy", vec![]));
    let alone = |name| npz(&[("arr_0.npy", arrays().into_iter().find(|(known, _)| *known == name).unwrap().1)]);
    let kuzushiji: Files = vec![
        ("k49-train-imgs.npz", alone("x_train.npy")),
        ("k49-train-labels.npz", alone("y_train.npy")),
        ("k49-test-imgs.npz", alone("x_test.npy")),
        ("k49-test-labels.npz", alone("y_test.npy")),
    ];
    let cases: [(Files, &str); 4] =
        [(arrays(), ""), (renamed, ""), (vec![("x.npz", npz(&arrays()))], "x.npz"), (kuzushiji, "")];
    let first = load(&cases[0].0, "", &Reading::default()).unwrap();
    assert_eq!((first.info.shape.as_slice(), first.info.features), (&[2][..], FeatureType::F32));
    assert_eq!((first.train.labels(), first.test.labels()), (&[0, 1, 1, 0][..], &[1, 0][..]));
    assert_eq!(values(&first.test), [1.5, 2.5, 3.5, 4.5]);
    assert_eq!(first.info.range, Some([1.0, 8.0]));
    for (files, path) in cases {
        let dataset = load(&files, path, &Reading::default()).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(dataset.info.sha256, first.info.sha256, "the content decides: {path}");
    }
}

#[test]
fn names_of_classes_and_clients_are_kept() {
    let mut files = arrays();
    files[1].1 = npy("<U1", "(4,)", b"b\0\0\0a\0\0\0c\0\0\0a\0\0\0");
    files[3].1 = npy("<U1", "(2,)", b"c\0\0\0b\0\0\0");
    files.push(("clients_train.npy", npy("<i8", "(4,)", &[10_i64, 9, 10, 9].map(i64::to_le_bytes).concat())));
    let dataset = load(&files, "", &Reading::default()).unwrap();
    let class_names = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(dataset.info.target, DatasetTarget::Classes { classes: 3, class_names });
    assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[1, 0, 2, 0][..], &[2, 1][..]));
    let clients = dataset.train.clients.unwrap();
    assert_eq!((clients.names, clients.of_row), (vec!["9".to_owned(), "10".to_owned()], vec![1, 0, 1, 0]));
    assert_eq!(dataset.info.warnings(), ["set has 1 class without a test example: a"]);
}

#[test]
fn a_table_has_features_names_of_classes_and_natural_clients() {
    let reading = Reading { test_split: drawn(0.5), ..who("sex") };
    let plain = load(&vec![("t.csv", TABLE.into())], "t.csv", &reading).unwrap();
    let class_names = vec!["f".to_owned(), "m".to_owned()];
    assert_eq!(plain.info.target, DatasetTarget::Classes { classes: 2, class_names });
    assert_eq!((plain.info.train_examples, plain.info.test_examples, &plain.info.shape[..]), (2, 2, &[2][..]));
    let mut labels = plain.train.labels().to_vec();
    labels.sort_unstable();
    assert_eq!(labels, [0, 1], "each class gives its part");
    let clients = plain.train.clients.as_ref().unwrap();
    assert!(clients.names.iter().all(|name| ["a", "b", "c"].contains(&name.as_str())), "{clients:?}");
    assert_eq!(clients.of_row.iter().max(), Some(&(clients.names.len() as u32 - 1)), "no client is without a row");
    let tabbed = TABLE.replace(',', "\t").into_bytes();
    let marked = [b"\xef\xbb\xbf", TABLE.as_bytes()].concat();
    for (name, bytes) in [("t.csv.gz", gzip(TABLE.as_bytes())), ("t.tsv", tabbed), ("t.csv", marked)] {
        let same = load(&vec![(name, bytes)], name, &reading).unwrap();
        assert_eq!(same.info.sha256, plain.info.sha256, "{name}");
    }
    // Two classes of two rows have four test sets, so that one other seed may draw the same.
    let mut others = (2..10).map(|seed| {
        let other = Reading { test_split: Some(TestSplit { fraction: 0.5, seed }), ..reading.clone() };
        load(&vec![("t.csv", TABLE.into())], "t.csv", &other).unwrap().info
    });
    let drawn_from = plain.info.drawn_from.as_ref();
    assert!(drawn_from.is_some() && others.clone().all(|other| other.drawn_from.as_ref() == drawn_from));
    assert!(others.any(|other| other.sha256 != plain.info.sha256), "the seed decides the rows, and these the identity");
}

#[test]
fn a_second_table_is_the_test_set() {
    let files = || vec![("a.csv", b"x,y\n1,0\n2,1\n".to_vec()), ("b.csv", b"x,y\n3,1\n".to_vec())];
    let reading = Reading { test_data: Some("b.csv".into()), ..by_label("y") };
    let dataset = load(&files(), "a.csv", &reading).unwrap();
    assert_eq!((values(&dataset.train), values(&dataset.test)), (&[1.0, 2.0][..], &[3.0][..]));
    assert_eq!(dataset.info.target, DatasetTarget::classes(2));
    let shards = vec![
        ("train-0.csv", b"x,y\n1,0\n".to_vec()),
        ("train-1.csv", b"x,y\n2,1\n".to_vec()),
        ("test.csv", b"x,y\n3,1\n".to_vec()),
    ];
    assert_eq!(load(&shards, "", &by_label("y")).unwrap().info.sha256, dataset.info.sha256);
    let real = Reading { target: TargetKind::Real, ..reading };
    let targets = load(&files(), "a.csv", &real).unwrap().train.targets;
    assert_eq!(targets, SplitTargets::Real(vec![0.0, 1.0]));
}

#[test]
fn images_by_class_are_decoded_and_scaled() {
    let image = |value| png(&grey(value));
    let files: Files = vec![
        ("train/dog/1.png", image(10)),
        ("train/cat/1.png", image(20)),
        ("train/cat/2.png", image(30)),
        ("train/cat/notes.txt", vec![]),
        ("test/dog/1.PNG", image(40)),
    ];
    let dataset = load(&files, "", &Reading::default()).unwrap();
    let class_names = vec!["cat".to_owned(), "dog".to_owned()];
    assert_eq!(dataset.info.target, DatasetTarget::Classes { classes: 2, class_names });
    assert_eq!((dataset.info.shape.as_slice(), dataset.train.labels()), (&[2, 3][..], &[0, 0, 1][..]));
    let expected = [20, 30, 10].map(|value| [value; 6]).concat();
    assert_eq!(dataset.train.features, SplitFeatures::U8(expected));
    let size = |text: &str| Reading { image_size: Some(text.parse().unwrap()), ..Reading::default() };
    let scaled = load(&files, "", &size("4x5x3")).unwrap();
    assert_eq!(scaled.info.shape, [4, 5, 3]);
    assert_eq!(scaled.test.features, SplitFeatures::U8(vec![40; 60]));
    let jpeg = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        grey(100).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    };
    let numbered: Files =
        vec![("0/a.jpg", jpeg.clone()), ("1/a.jpeg", jpeg.clone()), ("1/b.jpg", jpeg.clone()), ("0/b.jpg", jpeg)];
    let dataset = load(&numbered, "", &Reading { test_split: drawn(0.5), ..Reading::default() }).unwrap();
    assert_eq!((dataset.info.target, dataset.train.labels()), (DatasetTarget::classes(2), &[0, 1][..]));
    let SplitFeatures::U8(bytes) = dataset.train.features else { panic!("no bytes") };
    assert!(bytes.iter().all(|byte| (98..=102).contains(byte)), "{bytes:?}");
}

/// The files were written by pyarrow; `testdata/make.py` makes them.
#[test]
fn parquet_is_read_with_images_of_hugging_face() {
    let table = include_bytes!("../testdata/table.parquet").to_vec();
    let reading = Reading { test_split: drawn(0.5), ..who("sex") };
    let from_csv = load(&vec![("t.csv", TABLE.into())], "t.csv", &reading).unwrap();
    let from_parquet = load(&vec![("t.parquet", table)], "t.parquet", &reading).unwrap();
    assert_eq!(from_parquet.info.sha256, from_csv.info.sha256);
    let images = include_bytes!("../testdata/images.parquet").to_vec();
    let files = vec![("train-00000-of-00001.parquet", images.clone()), ("test-00000-of-00001.parquet", images)];
    let dataset = load(&files, "", &by_label("label")).unwrap();
    assert_eq!((dataset.info.shape.as_slice(), dataset.train.labels()), (&[2, 3, 3][..], &[1, 0][..]));
    let pixels = [[200, 100, 0]; 6].concat().into_iter().chain([[1, 2, 3]; 6].concat());
    assert_eq!(dataset.train.features, SplitFeatures::U8(pixels.collect()));
}

/// Returns a partition file with one feature a row.
fn ready(features: &[f32], labels: &[u32]) -> Vec<u8> {
    use safetensors::{Dtype, tensor::TensorView};

    let (n, features) = (labels.len(), floats(features));
    let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let examples = TensorView::new(Dtype::F32, vec![n, features.len() / 4 / n], &features).unwrap();
    let labels = TensorView::new(Dtype::U32, vec![n], &labels).unwrap();
    safetensors::tensor::serialize([("examples", examples), ("labels", labels)], None).unwrap()
}

#[test]
fn ready_partitions_have_a_natural_client_for_each_file() {
    let files = || -> Files {
        vec![
            ("10.safetensors", ready(&[1.0], &[1])),
            ("9.safetensors", ready(&[2.0, 3.0], &[0, 2])),
            ("test.safetensors", ready(&[4.0], &[2])),
        ]
    };
    let dataset = load(&files(), "", &Reading::default()).unwrap();
    assert_eq!((values(&dataset.train), values(&dataset.test)), (&[1.0, 2.0, 3.0][..], &[4.0][..]));
    assert_eq!(dataset.info.target, DatasetTarget::classes(3));
    let clients = dataset.train.clients.unwrap();
    assert_eq!((clients.names, clients.of_row), (vec!["9".to_owned(), "10".to_owned()], vec![1, 0, 0]));
    let mut other = files();
    other[1].1 = ready(&[2.0, 3.0], &[0]);
    assert_says(&load(&other, "", &Reading::default()).unwrap_err(), &["9.safetensors", "shape [2]", "[1]"]);
    let real = Reading { target: TargetKind::Real, ..Reading::default() };
    assert_says(&load(&files(), "", &real).unwrap_err(), &["10.safetensors", "`labels`, not `targets`"]);
    let no_test = files()[..2].to_vec();
    assert_says(&load(&no_test, "", &Reading::default()).unwrap_err(), &["has no test set"]);
}

#[test]
fn a_flag_without_effect_is_refused() {
    let idx = vec![
        ("train-images-idx3-ubyte", vec![]),
        ("train-labels-idx1-ubyte", vec![]),
        ("t10k-images-idx3-ubyte", vec![]),
        ("t10k-labels-idx1-ubyte", vec![]),
    ];
    assert_says(&load(&idx, "", &by_label("y")).unwrap_err(), &["--label has no effect", "reader idx"]);
    let reading = Reading { test_split: drawn(0.5), ..Reading::default() };
    let of_known = |reading| FoundSource::find(&Source::Sample, reading, Portion::Whole).map(|_| ());
    assert_says(&of_known(&reading).unwrap_err(), &["--test-split has no effect", "sample"]);
    let real = Reading { target: TargetKind::Real, ..Reading::default() };
    assert_says(&of_known(&real).unwrap_err(), &["--target real has no effect", "sample"]);
}

#[test]
fn under_own_no_test_set_is_drawn_and_no_class_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    fs::write(&path, TABLE).unwrap();
    let cache = Cache::at(folder.path().join("cache"));
    let read = |reading: &Reading, portion| {
        FoundSource::find(&Source::Path(path.clone()), reading, portion)?.load(&cache, &mut |_| ())
    };
    assert_says(&read(&who("sex"), Portion::Test).unwrap_err(), &["the class \"f\"", "number the classes from 0"]);
    let drawn = Reading { test_split: drawn(0.5), ..who("sex") };
    assert_says(&read(&drawn, Portion::Own).unwrap_err(), &["--test-split", "one test set"]);
    fs::write(&path, "x,y\n1,0\n2,1\n").unwrap();
    let test = read(&by_label("y"), Portion::Test).unwrap();
    assert_eq!((test.info.train_examples, test.info.test_examples), (0, 2));
}
