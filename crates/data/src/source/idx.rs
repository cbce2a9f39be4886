//! The reader of IDX files, as MNIST, EMNIST, QMNIST and KMNIST have them.
//!
//! A name is `[PREFIX-]SPLIT-CONTENT-idxK-TYPE`, such as `emnist-balanced-train-images-idx3-ubyte.gz`, in any case. A
//! dot may stand for the dash before `idx`. The files are in the directory itself, or in `raw` or `NAME/raw` below it,
//! as torchvision has them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::array::{RawArray, RawValues, join, natural_clients};
use super::idx_format::{self, IdxContent};
use super::input::{self, Input};
use super::reading::TargetKind;
use super::{ReadRequest, Reader};
use crate::checksum::{self, Hashing};
use crate::dataset::{Dataset, Portion, ReadSplits};
use crate::error::DataError;
use crate::split::Split;

pub(super) const READER: Reader = Reader {
    name: "idx",
    files: "a directory with train-images-idx3-ubyte and the three other IDX files, as MNIST, EMNIST, QMNIST and KMNIST name \
            them, plain or gzip; or with raw or NAME/raw that has them",
    takes: &[],
    find,
    read,
};

/// The four files of a dataset in the order of the hash: training images and labels, test images and labels.
pub(crate) const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The place of a file in [`FILES`], its description, and the names under which messages ask for it.
const ROLES: [(usize, &str, [&str; 2]); 4] = [
    (0, "training images", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"]),
    (1, "training labels", ["train-labels-idx1-ubyte", "train-labels.idx1-ubyte"]),
    (2, "test images", ["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"]),
    (3, "test labels", ["t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"]),
];

/// The types in a name, which the content decides.
const TYPES: [&str; 6] = ["ubyte", "byte", "short", "int", "float", "double"];

/// The column of a QMNIST label file that has the writer.
const QMNIST_WRITER: usize = 2;

/// The columns of a QMNIST label file.
const QMNIST_COLUMNS: usize = 8;

/// A file's name in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IdxName {
    /// The text before the split, such as `emnist-balanced`; empty for MNIST.
    prefix: String,
    /// The place in [`FILES`].
    role: usize,
}

impl IdxName {
    fn parse(name: &OsStr) -> Option<Self> {
        // macOS writes a file `._NAME` beside some files.
        let name = name.to_str().filter(|name| !name.starts_with('.'))?.to_ascii_lowercase();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let (stem, rest) = plain.rsplit_once("-idx").or_else(|| plain.rsplit_once(".idx"))?;
        let (sizes, kind) = rest.split_at_checked(1)?;
        let (stem, content) = stem.rsplit_once('-')?;
        let (prefix, split) = stem.rsplit_once('-').unwrap_or(("", stem));
        let first = match split {
            "train" => 0,
            "t10k" | "test" => 2,
            _ => return None,
        };
        let is_images = match (content, sizes) {
            ("images", "2" | "3" | "4") => true,
            ("labels", "1" | "2") => false,
            _ => return None,
        };
        let kind = kind.strip_prefix(['-', '.'])?;
        TYPES.contains(&kind).then(|| Self { prefix: prefix.to_owned(), role: first + usize::from(!is_images) })
    }
}

/// Returns `true` for a name under which this reader looks for a file of a dataset.
pub(super) fn is_idx(name: &OsStr) -> bool {
    IdxName::parse(name).is_some()
}

/// An IDX file in a directory.
struct Listed {
    name: IdxName,
    path: PathBuf,
}

/// Returns the IDX files in a directory, in the order of their names: a plain file comes before its gzip file.
fn list(directory: &Path) -> Vec<Listed> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let named = paths.into_iter().filter_map(|path| Some(Listed { name: IdxName::parse(path.file_name()?)?, path }));
    named.collect()
}

fn find(request: &ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError> {
    let Some((directory, files)) = found_below(&request.place)? else { return Ok(None) };
    let prefixes: BTreeSet<&str> = files.iter().map(|file| file.name.prefix.as_str()).collect();
    if prefixes.len() > 1 {
        let sets = prefixes.iter().map(|prefix| if prefix.is_empty() { "train-…" } else { prefix });
        return Err(DataError::SeveralSets { place: directory, sets: sets.map(str::to_owned).collect() });
    }
    let first = if request.portion.needs_no_training_set() { 2 } else { 0 };
    let path_of = |&(role, what, looked_for): &(usize, &'static str, [&str; 2])| {
        let file = files.iter().find(|file| file.name.role == role);
        file.map(|file| file.path.clone()).ok_or_else(|| DataError::MissingFile {
            dir: directory.clone(),
            what,
            looked_for: looked_for.map(str::to_owned).to_vec(),
        })
    };
    ROLES[first..].iter().map(path_of).collect::<Result<Vec<PathBuf>, DataError>>().map(Some)
}

/// Returns the IDX files of the directory, or of the one `raw` or `NAME/raw` below it that has some.
///
/// # Errors
/// Several folders below the directory have some.
fn found_below(place: &Path) -> Result<Option<(PathBuf, Vec<Listed>)>, DataError> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut below: Vec<PathBuf> = entries.map(|path| path.join("raw")).collect();
    below.sort();
    for level in [vec![place.to_owned()], vec![place.join("raw")], below] {
        let listed = level.into_iter().map(|directory| (list(&directory), directory));
        let mut found: Vec<_> = listed.filter(|(files, _)| !files.is_empty()).collect();
        if found.len() > 1 {
            let sets = found.iter().map(|(_, directory)| directory.display().to_string()).collect();
            return Err(DataError::SeveralSets { place: place.to_owned(), sets });
        }
        if let Some((files, directory)) = found.pop() {
            return Ok(Some((directory, files)));
        }
    }
    Ok(None)
}

fn read(request: &ReadRequest<'_>, paths: &[PathBuf]) -> Result<ReadSplits, DataError> {
    read_opened(paths, request.portion, request.reading.target, &|i| input::open(&paths[i], &[&[0, 0]]))
}

/// Reads the four files of [`FILES`] in `directory`, whose identity must be `published`.
///
/// # Errors
/// A file is damaged or altered.
pub(super) fn load_published(name: &str, directory: &Path, published: &str) -> Result<Dataset, DataError> {
    let paths = FILES.map(|file| directory.join(file));
    let splits = read_opened(&paths, Portion::Whole, TargetKind::Classes, &|i| input::open(&paths[i], &[&[0, 0]]))?;
    let dataset = Dataset::new(name, splits, Portion::Whole)?;
    check_published(dataset, directory, published)
}

/// Refuses a dataset with another identity than the published one.
pub(super) fn check_published(dataset: Dataset, place: &Path, published: &str) -> Result<Dataset, DataError> {
    let sha256 = dataset.info.sha256.clone();
    if sha256 == published {
        return Ok(dataset);
    }
    Err(DataError::Altered { place: place.to_owned(), sha256, published: published.to_owned() })
}

/// Reads the files at `paths`, which are the four of [`FILES`] or the last two. `open` opens a file by its index.
///
/// # Errors
/// A file is damaged, or images and labels do not belong together.
pub(super) fn read_opened(
    paths: &[PathBuf],
    portion: Portion,
    kind: TargetKind,
    open: &dyn Fn(usize) -> Result<Input, DataError>,
) -> Result<ReadSplits, DataError> {
    let mut hashes = Vec::with_capacity(paths.len());
    let mut read = |i: usize, content| {
        let input = open(i)?;
        let mut reader = Hashing::new(input.reader);
        let array = idx_format::read(&mut reader, content, &paths[i], input.room)?;
        hashes.push(reader.finish());
        Ok::<_, DataError>(array)
    };
    let mut split = |i: usize| {
        let images = read(i, IdxContent::Images)?;
        let labels = read(i + 1, IdxContent::Labels)?;
        labelled(images, labels, kind)
    };
    let train = (!portion.needs_no_training_set()).then(|| split(0)).transpose()?;
    let [first_test, last] = [paths.len() - 2, paths.len() - 1];
    let test = split(first_test)?;
    let train = train.unwrap_or_else(|| Split::empty_like(&test));
    // The identity says nothing about the kind of the targets.
    let sha256 = (kind == TargetKind::Classes).then(|| identity(&hashes));
    let test_files = [paths[first_test].clone(), paths[last].clone()];
    Ok(ReadSplits {
        train,
        test,
        class_names: Vec::new(),
        feature_names: Vec::new(),
        sha256,
        drawn_from: None,
        test_files,
    })
}

/// Combines images and labels to a split. The label is in the first column of QMNIST's eight, and the writer in the
/// third.
fn labelled(images: RawArray, labels: RawArray, kind: TargetKind) -> Result<Split, DataError> {
    let columns = match labels.sizes[..] {
        [_] | [_, 1] => return join(images, labels, kind),
        [_, QMNIST_COLUMNS] => QMNIST_COLUMNS,
        _ => return Err(DataError::LabelColumns { path: labels.path, sizes: labels.sizes }),
    };
    let RawArray { path, sizes, values } = labels;
    let values = values.numbers();
    let column = |column: usize| values.iter().skip(column).step_by(columns).copied();
    let writers = column(QMNIST_WRITER).map(|writer| writer.to_string()).collect();
    let labels = RawArray { path, sizes: vec![sizes[0]], values: RawValues::F64(column(0).collect()) };
    Ok(Split { clients: Some(natural_clients(writers)), ..join(images, labels, kind)? })
}

/// Returns the identity of a dataset from the SHA-256 of its four files, or of the last two; see
/// [`DatasetInfo::sha256`](crate::dataset::DatasetInfo).
pub(crate) fn identity<S: AsRef<str>>(hashes: &[S]) -> String {
    let files = &FILES[FILES.len() - hashes.len()..];
    let lines: Vec<String> =
        hashes.iter().zip(files).map(|(hash, file)| format!("{}  {file}\n", hash.as_ref())).collect();
    checksum::of_text(&lines.concat())
}

#[cfg(test)]
mod tests;
