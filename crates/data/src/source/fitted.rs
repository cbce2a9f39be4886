//! Examples for a model that is trained already: they must have the shape and the units of its training examples. They
//! are written as a file that a client reads as a test set.

use std::path::{Path, PathBuf};

use super::array::{RawArray, finite_features};
use super::images::{self, is_image};
use super::npy::{self, NpyArray};
use super::reading::ImageSize;
use super::{FoundSource, Reading, Source, csv_table, input};
use crate::cache::Cache;
use crate::data_step::DataStep;
use crate::dataset::{Dataset, DatasetInfo, DatasetTarget, Portion};
use crate::deal::PartitionFile;
use crate::error::DataError;
use crate::partition_file::{FileMetadata, write};
use crate::split::{Split, SplitFeatures, SplitTargets};

/// Writes the test set of a dataset, or all its examples if it has none, to `out`. `like` describes the data of the
/// training.
///
/// # Errors
/// The dataset cannot be read, or does not fit the model.
pub fn write_scored(
    (source, reading): (&Source, &Reading),
    like: &DatasetInfo,
    out: &Path,
    cache: &Cache,
    progress: &mut dyn FnMut(DataStep),
) -> Result<PartitionFile, DataError> {
    let dataset = FoundSource::find(source, reading, Portion::Scored)?.load(cache, progress)?;
    let place = source.to_string();
    let targets = targets_like(&dataset, like, &place)?;
    let split = fitted(Split { targets, ..dataset.test }, like, &place)?;
    write_split(out, &split, like)
}

/// Writes the examples in images, arrays and tables to `out`, with targets of zero. The columns of a table that are
/// `ignored` are no features. Returns the name of each example: the file, with the row if it has several.
///
/// # Errors
/// A file cannot be read, or does not fit the model.
pub fn write_inputs(
    files: &[PathBuf],
    ignored: &[&str],
    like: &DatasetInfo,
    out: &Path,
) -> Result<(Vec<String>, PartitionFile), DataError> {
    let mut names = Vec::new();
    let mut all: Option<Split> = None;
    for path in files {
        let (shape, features) = features_of(path, ignored, like)?;
        let size = shape.iter().product::<usize>();
        let count = match &features {
            SplitFeatures::U8(bytes) => bytes.len() / size,
            SplitFeatures::F32(values) => values.len() / size,
        };
        let shown = path.display().to_string();
        match count {
            1 => names.push(shown.clone()),
            _ => names.extend((0..count).map(|row| format!("{shown}:{row}"))),
        }
        let targets = match like.target {
            DatasetTarget::Classes { .. } => SplitTargets::Classes(vec![0; count]),
            DatasetTarget::Real { .. } => SplitTargets::Real(vec![0.0; count]),
        };
        let split = fitted(Split { shape, features, targets, clients: None }, like, &shown)?;
        all = Some(match all {
            None => split,
            Some(all) => all.followed_by(split),
        });
    }
    let all = all.ok_or_else(|| DataError::NoRows { path: files.first().cloned().unwrap_or_default() })?;
    Ok((names, write_split(out, &all, like)?))
}

/// Returns the shape of the examples in a file, and their features.
fn features_of(path: &Path, ignored: &[&str], like: &DatasetInfo) -> Result<(Vec<usize>, SplitFeatures), DataError> {
    let refused = || DataError::NoInput { path: path.to_owned() };
    if is_image(path) {
        return image(path, &like.shape);
    }
    if csv_table::is_table(path) {
        let (columns, values) = csv_table::read_features(path, ignored)?.into_features();
        let is_row = like.shape.iter().product::<usize>() == columns;
        if values.is_empty() {
            return Err(DataError::NoRows { path: path.to_owned() });
        }
        return Ok((if is_row { like.shape.clone() } else { vec![columns] }, SplitFeatures::F32(values)));
    }
    if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npy")) {
        return Err(refused());
    }
    let mut opened = input::open(path, &[npy::MAGIC])?;
    match npy::read(&mut opened.reader, path, opened.room)? {
        NpyArray::Numbers(array) if array.sizes == like.shape => {
            finite_features(RawArray { sizes: [&[1], &array.sizes[..]].concat(), ..array })
        }
        NpyArray::Numbers(array) => finite_features(array),
        NpyArray::Texts(_) => Err(refused()),
    }
}

/// Returns an image, scaled to the shape of the training examples.
fn image(path: &Path, shape: &[usize]) -> Result<(Vec<usize>, SplitFeatures), DataError> {
    let (height, width, channels) = match *shape {
        [height, width] => (height, width, 1),
        [height, width, channels @ (1 | 3)] => (height, width, channels),
        _ => return Err(DataError::NoImageShape { path: path.to_owned(), shape: shape.to_vec() }),
    };
    let size = ImageSize { height: height as u32, width: width as u32, channels: Some(channels as u8) };
    let name = |_| path.display().to_string();
    let load = |_| std::fs::read(path).map_err(|source| DataError::Read { path: path.to_owned(), source });
    let (_, features) = images::stack(1, Some(size), &name, &load)?;
    Ok((shape.to_vec(), features))
}

/// Returns the targets of the test set, whose labels are those of the model.
fn targets_like(dataset: &Dataset, like: &DatasetInfo, place: &str) -> Result<SplitTargets, DataError> {
    let (SplitTargets::Classes(labels), DatasetTarget::Classes { classes, class_names: known }) =
        (&dataset.test.targets, &like.target)
    else {
        return Ok(dataset.test.targets.clone());
    };
    let names = match &dataset.info.target {
        DatasetTarget::Classes { class_names, .. } => class_names.as_slice(),
        DatasetTarget::Real { .. } => &[],
    };
    let label_of = |label: u32| match names.get(label as usize) {
        Some(name) => known.iter().position(|known| known == name).map(|place| place as u32),
        None => Some(label).filter(|label| label < classes),
    };
    let unknown = |label: u32| DataError::OtherClass {
        place: place.to_owned(),
        class: names.get(label as usize).cloned().unwrap_or_else(|| label.to_string()),
        known: if known.is_empty() { format!("0 to {}", classes.saturating_sub(1)) } else { known.join(", ") },
    };
    let mapped = labels.iter().map(|&label| label_of(label).ok_or_else(|| unknown(label)));
    mapped.collect::<Result<_, _>>().map(SplitTargets::Classes)
}

/// Returns the examples in the units of the training, or the reason why the model cannot take them.
fn fitted(split: Split, like: &DatasetInfo, place: &str) -> Result<Split, DataError> {
    if split.shape != like.shape {
        let (place, found) = (place.to_owned(), split.shape);
        return Err(DataError::OtherShape { place, found, expected: like.shape.clone() });
    }
    if let Some(by) = &like.standardisation {
        return Ok(by.apply(&split));
    }
    let [found, expected] = [split.features.kind(), like.features].map(|kind| kind.name());
    if found != expected {
        return Err(DataError::OtherFeatures { place: place.to_owned(), found, expected });
    }
    Ok(split)
}

fn write_split(out: &Path, split: &Split, like: &DatasetInfo) -> Result<PartitionFile, DataError> {
    let classes = like.target.class_count().map(|classes| classes.to_string());
    let about = FileMetadata { dataset: &like.sha256, classes, client: "test".to_owned(), held_out: 0 };
    let rows: Vec<u32> = (0..split.len() as u32).collect();
    let hashes = write(out, split, &rows, &about)
        .map_err(|source| DataError::Cache { path: out.parent().unwrap_or(out).to_owned(), source })?;
    let (path, examples) = (out.to_owned(), split.len() as u64);
    Ok(PartitionFile { path, examples, held_out: 0, label_counts: Vec::new(), sha256: hashes.sha256 })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataset::FeatureType;
    use crate::map::{Partition, PartitionTargets, Pixels};
    use crate::standardisation::Standardisation;

    fn like(shape: &[usize], features: FeatureType, target: DatasetTarget) -> DatasetInfo {
        let json = serde_json::json!({
            "name": "x", "sha256": "", "shape": shape, "classes": 2, "train_examples": 1, "test_examples": 1,
            "sample": false,
        });
        DatasetInfo { features, target, ..serde_json::from_value(json).unwrap() }
    }

    fn named() -> DatasetTarget {
        DatasetTarget::Classes { classes: 2, class_names: vec!["dog".into(), "cat".into()] }
    }

    /// Writes the files and returns the refusal, or the names with the features that a client reads.
    fn inputs(files: &[(&str, &[u8])], like: &DatasetInfo) -> Result<(Vec<String>, Vec<f32>), String> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
        paths.iter().zip(files).for_each(|(path, (_, content))| fs::write(path, content).unwrap());
        let out = folder.path().join("out.safetensors");
        let (names, written) = write_inputs(&paths, &["y"], like, &out).map_err(|error| error.to_string())?;
        let partition = Partition::open(&out).unwrap();
        partition.check_sha256(&written.sha256, &out).unwrap();
        let values = match partition.pixels() {
            Pixels::U8(bytes) => bytes.iter().map(|&byte| f32::from(byte)).collect(),
            Pixels::F32(values) => values.to_vec(),
        };
        let names = names.iter().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect();
        Ok((names, values))
    }

    fn png(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut file = std::io::Cursor::new(Vec::new());
        let image = image::GrayImage::from_raw(width, height, pixels.to_vec()).unwrap();
        image.write_to(&mut file, image::ImageFormat::Png).unwrap();
        file.into_inner()
    }

    /// A NumPy array of bytes.
    fn npy(shape: &str, bytes: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), bytes].concat()
    }

    #[test]
    fn images_arrays_and_tables_are_read_as_rows() {
        let bytes = like(&[2, 2], FeatureType::U8, DatasetTarget::classes(2));
        let files: [(&str, &[u8]); 3] = [
            ("a.png", &png(&[1, 2, 3, 4], 2, 2)),
            ("one.npy", &npy("(2, 2)", &[5, 6, 7, 8])),
            ("two.npy", &npy("(2, 2, 2)", &[9; 8])),
        ];
        let (names, values) = inputs(&files, &bytes).unwrap();
        assert_eq!(names, ["a.png", "one.npy", "two.npy:0", "two.npy:1"]);
        assert_eq!(values[..9], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let table = like(&[2], FeatureType::F32, DatasetTarget::REAL);
        let csv: &[u8] = b"a,y,b\n1,what,2\n3,,4\n";
        assert_eq!(
            inputs(&[("t.csv", csv)], &table).unwrap(),
            (vec!["t.csv:0".into(), "t.csv:1".into()], vec![1.0, 2.0, 3.0, 4.0])
        );
        let by = Standardisation { mean: vec![1.0, 2.0], sd: vec![2.0, 1.0] };
        let standardised = DatasetInfo { standardisation: Some(by), ..table };
        assert_eq!(inputs(&[("t.csv", csv)], &standardised).unwrap().1, [0.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_file_that_does_not_fit_the_model_is_refused_with_both() {
        let bytes = like(&[2, 2], FeatureType::U8, DatasetTarget::classes(2));
        let table = like(&[3], FeatureType::F32, DatasetTarget::classes(2));
        let array = npy("(1, 3)", &[1; 3]);
        let cases: [(&str, &[u8], &DatasetInfo, &str); 6] = [
            ("x.npy", &array, &bytes, "has examples of the shape [3], but the model was trained on [2, 2]; give"),
            ("x.npy", &array, &table, "has features of the type U8, but the model was trained on F32, which"),
            ("x.csv", b"a,b\n1,2\n", &table, "has examples of the shape [2], but the model was trained on [3]"),
            ("x.csv", b"a,b,c\n", &table, "x.csv has no rows"),
            ("x.png", &png(&[1], 1, 1), &table, "is an image, but the model was trained on examples of the shape [3]"),
            ("x.pdf", b"%PDF", &bytes, "x.pdf is neither an image (png, jpeg), an array (.npy) nor a table"),
        ];
        for (name, content, like, expected) in cases {
            let why = inputs(&[(name, content)], like).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn classes_have_the_labels_of_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let scored = |csv: &str, target: DatasetTarget| {
            let (path, out) = (folder.path().join("t.csv"), folder.path().join(format!("{}.out", csv.len())));
            fs::write(&path, csv).unwrap();
            let reading = Reading { label: Some("y".into()), ..Reading::default() };
            let like = like(&[1], FeatureType::F32, target);
            let cache = Cache::at(folder.path().join("cache"));
            write_scored((&Source::Path(path), &reading), &like, &out, &cache, &mut |_| ())
                .map_err(|e| e.to_string())?;
            match Partition::open(&out).unwrap().targets() {
                PartitionTargets::Classes(labels) => Ok(labels.to_vec()),
                PartitionTargets::Real(_) => Err("real".to_owned()),
            }
        };
        assert_eq!(scored("x,y\n1,cat\n2,dog\n3,cat\n", named()), Ok(vec![1, 0, 1]));
        assert_eq!(scored("x,y\n1,1\n2,0\n", named()), Ok(vec![1, 0]));
        let why = scored("x,y\n1,cat\n2,cow\n", named()).unwrap_err();
        assert!(why.contains("has the class \"cow\", which the model was not trained on; its classes are dog, cat"));
        let why = scored("x,y\n1,0\n2,7\n3,1\n", DatasetTarget::classes(2)).unwrap_err();
        assert!(
            why.contains("has the class \"7\", which the model was not trained on; its classes are 0 to 1"),
            "{why}"
        );
    }
}
