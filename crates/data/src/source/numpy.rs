//! The reader of NumPy arrays: `.npy` files in a directory, or the members of an `.npz` file.
//!
//! The words of a name say what an array holds, such as `x_train`, `train_images` or `y`. Words are parted by `_`, `-`
//! or `.`. An array without `train` or `test` in its name has all examples.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::array::{self, finite_features, natural_clients};
use super::class_names::ClassNames;
use super::columns::is_missing;
use super::npy::{self, NpyArray};
use super::reading::TargetKind;
use super::splits::FoundSplits;
use super::{ReadRequest, Reader, input};
use crate::dataset::ReadSplits;
use crate::error::DataError;
use crate::split::Split;

pub(super) const READER: Reader = Reader {
    name: "numpy",
    files: "FILE.npz, or a directory of .npy files; the names of the arrays are x_train, y_train, x_test, y_test, or words \
            such as train_images and test_labels; x and y hold all examples; clients_train may name the client of each row",
    takes: &["--test-split"],
    find,
    read,
};

/// The content of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Examples,
    Targets,
    Clients,
}

/// The examples that an array belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    /// The training examples, or all.
    First,
    Test,
}

const CONTENTS: [(Content, &[&str]); 3] = [
    (Content::Examples, &["x", "images", "image", "imgs", "data", "features", "inputs", "examples"]),
    (Content::Targets, &["y", "labels", "label", "targets", "target"]),
    (Content::Clients, &["clients", "client", "users"]),
];

const HALVES: [(Half, &[&str]); 2] = [(Half::First, &["train", "training"]), (Half::Test, &["test", "testing"])];

/// Returns what an array holds by the words of its name; `None` for another array, such as one for validation.
fn role_of(name: &str) -> Option<(Content, Half)> {
    let name = name.to_ascii_lowercase();
    let stem = name.strip_suffix(".npy").or_else(|| name.strip_suffix(".npz")).unwrap_or(&name);
    let words: Vec<&str> = stem.split(['_', '-', '.']).collect();
    if words.iter().any(|word| ["val", "valid", "validation"].contains(word)) {
        return None;
    }
    let content = CONTENTS.iter().find(|(_, known)| words.iter().any(|word| known.contains(word)))?.0;
    let half = HALVES.iter().find(|(_, known)| words.iter().any(|word| known.contains(word)));
    Some((content, half.map_or(Half::First, |(half, _)| *half)))
}

/// An array in a file of its own, or in an archive.
struct Member {
    role: (Content, Half),
    /// The path for messages.
    path: PathBuf,
    /// The name in the archive.
    name: Option<String>,
}

fn find(request: &ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError> {
    if request.place.is_file() {
        let is_archive = request.place.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"));
        return Ok(is_archive.then(|| vec![request.place.clone()]));
    }
    let entries = fs::read_dir(&request.place).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| is_array(path)).collect();
    paths.sort();
    Ok((!paths.is_empty()).then_some(paths))
}

/// Returns `true` for a file whose name is that of an array of a dataset.
pub(super) fn is_array(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = name.to_ascii_lowercase();
    (ending.ends_with(".npy") || ending.ends_with(".npz")) && role_of(&name).is_some()
}

fn read(request: &ReadRequest<'_>, paths: &[PathBuf]) -> Result<ReadSplits, DataError> {
    let members = match paths {
        [archive] if *archive == request.place => members_of(archive)?,
        files => files.iter().filter_map(|path| file_member(path)).collect(),
    };
    let one = |content, half| -> Result<Option<NpyArray>, DataError> {
        let mut found = members.iter().filter(|member| member.role == (content, half));
        match (found.next(), found.next()) {
            (Some(one), Some(other)) => {
                let sets = [one, other].map(|member| member.shown()).to_vec();
                Err(DataError::SeveralSets { place: request.place.clone(), sets })
            }
            (member, _) => member.map(Member::read).transpose(),
        }
    };
    let half = |half| -> Result<_, DataError> {
        Ok([one(Content::Examples, half)?, one(Content::Targets, half)?, one(Content::Clients, half)?])
    };
    let (first, test) = (half(Half::First)?, half(Half::Test)?);
    let kind = request.reading.target;
    let class_names = match (&first[1], &test[1]) {
        (Some(labels), _) | (None, Some(labels)) if kind == TargetKind::Classes => {
            labels.names().map_or(Ok(ClassNames::None), |texts| ClassNames::of(&texts, &request.place))?
        }
        _ => ClassNames::default(),
    };
    let split = |arrays| split(arrays, &class_names, request);
    let (first, test) = (split(first)?, split(test)?);
    let test_files = [request.place.clone(), request.place.clone()];
    FoundSplits { first, test, class_names, feature_names: Vec::new(), test_files }.finish(request)
}

/// Combines the arrays of one half to a split; `None` if there are none.
fn split(
    [examples, targets, clients]: [Option<NpyArray>; 3],
    class_names: &ClassNames,
    request: &ReadRequest<'_>,
) -> Result<Option<Split>, DataError> {
    let place = request.place.clone();
    let (examples, labels) = match (examples, targets) {
        (Some(NpyArray::Numbers(examples)), Some(labels)) => (examples, labels),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(DataError::MissingArray { path: place, what: "labels, such as y_train" }),
        (_, Some(_)) => {
            return Err(DataError::MissingArray { path: place, what: "examples that are numbers, such as x_train" });
        }
    };
    let (n, m) = (examples.sizes[0], labels.len());
    if n != m {
        return Err(DataError::Counts { example_path: examples.path, examples: n, target_path: place, targets: m });
    }
    let kind = request.reading.target;
    let targets = match labels {
        NpyArray::Texts(texts) => {
            check_texts(&texts, &place, "labels")?;
            class_names.targets(&texts, kind, &place)?
        }
        NpyArray::Numbers(labels) if labels.sizes[1..].iter().any(|&size| size != 1) => {
            return Err(DataError::LabelColumns { path: labels.path, sizes: labels.sizes });
        }
        NpyArray::Numbers(labels) if class_names.first_mapped().is_some() => {
            class_names.targets(&texts(&labels.values.numbers()), kind, &labels.path)?
        }
        NpyArray::Numbers(labels) => array::targets(labels.values.numbers(), kind, &labels.path)?,
    };
    let clients = clients.map(|clients| clients.client_names(&place)).transpose()?;
    if let Some(clients) = clients.as_ref().filter(|clients| clients.len() != n) {
        return Err(DataError::Counts {
            example_path: examples.path,
            examples: n,
            target_path: place,
            targets: clients.len(),
        });
    }
    let (shape, features) = finite_features(examples)?;
    Ok(Some(Split { shape, features, targets, clients: clients.map(natural_clients) }))
}

impl NpyArray {
    /// Returns the names of labels that are texts, or of which one is negative.
    fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Texts(texts) => Some(texts.clone()),
            Self::Numbers(array) => {
                let numbers = array.values.clone().numbers();
                numbers.iter().any(|number| *number < 0.0).then(|| texts(&numbers))
            }
        }
    }

    /// Returns the name of each row's client.
    fn client_names(self, place: &Path) -> Result<Vec<String>, DataError> {
        let array = match self {
            Self::Texts(texts) => return check_texts(&texts, place, "clients").map(|()| texts),
            Self::Numbers(array) => array,
        };
        let numbers = array.values.numbers();
        match numbers.iter().position(|number| number.is_nan() || number.abs() >= LARGEST_NAME) {
            Some(row) => Err(DataError::ClientNumber { path: array.path, row, value: numbers[row] }),
            None => Ok(texts(&numbers)),
        }
    }
}

/// The bound of the numbers that f64 tells apart.
const LARGEST_NAME: f64 = 9_007_199_254_740_992.0;

fn texts(numbers: &[f64]) -> Vec<String> {
    numbers.iter().map(f64::to_string).collect()
}

/// Refuses a text that stands for a missing value.
fn check_texts(texts: &[String], place: &Path, column: &str) -> Result<(), DataError> {
    match texts.iter().position(|text| is_missing(text)) {
        None => Ok(()),
        Some(row) => {
            let (path, column, text) = (place.to_owned(), column.to_owned(), texts[row].clone());
            Err(DataError::MissingValue { path, row, column, text })
        }
    }
}

impl Member {
    fn shown(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn read(&self) -> Result<NpyArray, DataError> {
        match &self.name {
            None => {
                let mut input = input::open(&self.path, &[npy::MAGIC])?;
                npy::read(&mut input.reader, &self.path, input.room)
            }
            Some(name) => {
                let archive = self.path.parent().unwrap_or(&self.path);
                let mut archive = open_archive(archive)?;
                let mut member = archive.by_name(name).map_err(|error| zip_error(&self.path, &error))?;
                // The archive may promise any size.
                let room = member.size().min(member.compressed_size().saturating_mul(input::GREATEST_RATIO));
                npy::read(&mut member, &self.path, room)
            }
        }
    }
}

/// Returns the array in a file: a `.npy` file, or the only member of an `.npz` file.
fn file_member(path: &Path) -> Option<Member> {
    let role = role_of(&path.file_name()?.to_string_lossy())?;
    if path.extension()?.eq_ignore_ascii_case("npy") {
        return Some(Member { role, path: path.to_owned(), name: None });
    }
    let mut names = names_in(&open_archive(path).ok()?);
    let name = names.pop()?;
    names.is_empty().then(|| Member { role, path: path.join(&name), name: Some(name) })
}

/// Returns the arrays in an archive whose names are known.
fn members_of(path: &Path) -> Result<Vec<Member>, DataError> {
    let names = names_in(&open_archive(path)?);
    let member = |name: &String| Some(Member { role: role_of(name)?, path: path.join(name), name: Some(name.clone()) });
    let members: Vec<Member> = names.iter().filter_map(member).collect();
    if members.is_empty() {
        return Err(DataError::NoArrays { path: path.to_owned(), names: names.join(", ") });
    }
    Ok(members)
}

/// Returns the sorted names of the members.
fn names_in(archive: &zip::ZipArchive<File>) -> Vec<String> {
    let mut names: Vec<String> = archive.file_names().flatten().map(Into::into).collect();
    names.sort();
    names
}

fn open_archive(path: &Path) -> Result<zip::ZipArchive<File>, DataError> {
    let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    zip::ZipArchive::new(file).map_err(|error| zip_error(path, &error))
}

fn zip_error(path: &Path, error: &zip::result::ZipError) -> DataError {
    DataError::Npy { path: path.to_owned(), reason: format!("the archive cannot be read ({error})") }
}
