//! Tables of named columns, which CSV and Parquet files have: features, a label, and a client.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, mem};

use super::ReadRequest;
use super::array::natural_clients;
use super::class_names::ClassNames;
use super::images;
use super::reading::{Reading, TargetKind};
use super::splits::FoundSplits;
use crate::checksum;
use crate::dataset::ReadSplits;
use crate::error::DataError;
use crate::split::{Split, SplitFeatures};

/// The texts that stand for a missing value, in lower case.
const MISSING: [&str; 9] = ["", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"];

/// The value of a cell. CSV has texts alone.
#[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "a cell of Parquet"))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Missing,
    Text(&'a str),
    /// A whole number. One beyond 2⁵³ keeps all digits, since it may be the name of a client.
    Whole(i128),
    Number(f64),
    Boolean(bool),
    /// Bytes, which are the content of an image file in a column of features.
    Image(&'a [u8]),
}

/// The use of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnUse {
    Feature,
    Label,
    Client,
    Ignored,
}

/// A table that is read row by row.
#[derive(Debug, Default)]
pub(super) struct Table {
    path: PathBuf,
    names: Vec<String>,
    uses: Vec<ColumnUse>,
    features: Vec<f32>,
    /// The files of images, if the one column of features has images.
    images: Vec<Vec<u8>>,
    labels: Vec<String>,
    /// The names of the labels 0, 1, …, if the file has them.
    label_names: Vec<String>,
    clients: Vec<String>,
    /// The number of whole rows.
    rows: usize,
}

impl Table {
    /// Returns an empty table of features, without the columns that are `ignored`.
    ///
    /// # Errors
    /// No column is left.
    pub(super) fn of_features(path: &Path, names: Vec<String>, ignored: &[&str]) -> Result<Self, DataError> {
        let is_ignored = |name: &String| ignored.contains(&name.as_str());
        let use_of = |name| if is_ignored(name) { ColumnUse::Ignored } else { ColumnUse::Feature };
        let (path, uses): (_, Vec<_>) = (path.to_owned(), names.iter().map(use_of).collect());
        if !uses.contains(&ColumnUse::Feature) {
            return Err(DataError::NoFeatures { path, columns: names.join(", ") });
        }
        Ok(Self { path, names, uses, ..Self::default() })
    }

    /// Returns the features of all rows, with the number of columns.
    pub(super) fn into_features(self) -> (usize, Vec<f32>) {
        (self.feature_names().len(), self.features)
    }

    /// Returns an empty table with these columns.
    ///
    /// # Errors
    /// A column has no name, a name stands twice, a flag's column is missing, or no column is left for the features.
    pub(super) fn new(path: &Path, names: Vec<String>, reading: &Reading) -> Result<Self, DataError> {
        let path = path.to_owned();
        let columns = names.join(", ");
        if let Some(column) = names.iter().position(String::is_empty) {
            return Err(DataError::UnnamedColumn { path, column });
        }
        if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(DataError::SameColumns { path, column: names[at].clone() });
        }
        let Some(label) = &reading.label else { return Err(DataError::NoLabel { path, columns }) };
        for (flag, column) in [("--label", Some(label)), ("--client-column", reading.client_column.as_ref())] {
            if let Some(column) = column.filter(|column| !names.contains(column)) {
                return Err(DataError::NoColumn { path, flag, column: column.clone(), columns });
            }
        }
        let use_of = |name: &String| match name {
            name if name == label => ColumnUse::Label,
            name if Some(name) == reading.client_column.as_ref() => ColumnUse::Client,
            _ => ColumnUse::Feature,
        };
        let uses: Vec<ColumnUse> = names.iter().map(use_of).collect();
        if !uses.contains(&ColumnUse::Feature) {
            return Err(DataError::NoFeatures { path, columns });
        }
        Ok(Self { path, names, uses, ..Self::default() })
    }

    /// Adds a cell of the present row.
    ///
    /// # Errors
    /// The cell has no value, or a feature is no finite number.
    pub(super) fn push(&mut self, column: usize, cell: Cell<'_>) -> Result<(), DataError> {
        if self.uses[column] == ColumnUse::Ignored {
            return Ok(());
        }
        let is_missing = match cell {
            Cell::Text(text) => is_missing(text),
            Cell::Number(number) => number.is_nan(),
            cell => cell == Cell::Missing,
        };
        if is_missing {
            let (path, row, column) = (self.path.clone(), self.rows, self.names[column].clone());
            return Err(DataError::MissingValue { path, row, column, text: text_of(cell) });
        }
        match (self.uses[column], cell) {
            // A quote without its end takes in all that follows.
            (_, Cell::Text(text)) if text.contains(['\r', '\n']) => {
                let (path, row, column) = (self.path.clone(), self.rows, self.names[column].clone());
                return Err(DataError::LineBreak { path, row, column });
            }
            (ColumnUse::Label | ColumnUse::Client, Cell::Image(_)) => {
                let (path, row, column) = (self.path.clone(), self.rows, self.names[column].clone());
                return Err(DataError::ColumnType { path, row, column, value: text_of(cell) });
            }
            (ColumnUse::Label, cell) => self.labels.push(text_of(cell)),
            (ColumnUse::Client, cell) => self.clients.push(text_of(cell)),
            (ColumnUse::Feature, Cell::Image(content)) => self.images.push(content.to_owned()),
            (ColumnUse::Feature, cell) => {
                let value = self.feature(column, cell)?;
                self.features.push(value);
            }
            (ColumnUse::Ignored, _) => {}
        }
        Ok(())
    }

    /// Names the labels 0, 1, ….
    #[cfg(feature = "parquet")]
    pub(super) fn name_labels(&mut self, names: Vec<String>) {
        self.label_names = names;
    }

    /// Returns the number of whole rows.
    #[cfg(feature = "parquet")]
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Ends the present row.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }

    fn feature(&self, column: usize, cell: Cell<'_>) -> Result<f32, DataError> {
        let value = match cell {
            Cell::Whole(number) => Some(number as f32),
            Cell::Number(number) => Some(number as f32),
            Cell::Boolean(boolean) => Some(f32::from(u8::from(boolean))),
            Cell::Text(text) => text.trim().parse().ok(),
            Cell::Image(_) | Cell::Missing => None,
        };
        value.filter(|value| value.is_finite()).ok_or_else(|| DataError::FeatureText {
            path: self.path.clone(),
            row: self.rows,
            column: self.names[column].clone(),
            text: text_of(cell),
        })
    }

    /// Refuses a table with other columns or names of classes.
    fn check_names(&self, expected: &Self) -> Result<(), DataError> {
        let path = self.path.clone();
        let is_other = |names: &[String], expected: &[String]| (names != expected).then(|| names.join(", "));
        if let Some(columns) = is_other(&self.names, &expected.names) {
            return Err(DataError::OtherColumns { path, columns, expected: expected.names.join(", ") });
        }
        match is_other(&self.label_names, &expected.label_names) {
            Some(names) => Err(DataError::OtherNames { path, names, expected: expected.label_names.join(", ") }),
            None => Ok(()),
        }
    }

    /// Adds the rows of the next shard.
    fn followed_by(mut self, mut next: Self) -> Result<Self, DataError> {
        next.check_names(&self)?;
        self.features.append(&mut next.features);
        self.images.append(&mut next.images);
        self.labels.append(&mut next.labels);
        self.clients.append(&mut next.clients);
        self.rows += next.rows;
        Ok(self)
    }

    /// Returns the classes of the rows.
    fn class_names(&self, kind: TargetKind) -> Result<ClassNames, DataError> {
        match kind {
            TargetKind::Real => Ok(ClassNames::None),
            TargetKind::Classes if self.label_names.is_empty() => ClassNames::of(&self.labels, &self.path),
            TargetKind::Classes => Ok(ClassNames::Declared(self.label_names.clone())),
        }
    }

    fn feature_names(&self) -> Vec<String> {
        let named = self.names.iter().zip(&self.uses).filter(|(_, used)| **used == ColumnUse::Feature);
        named.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the rows as a split.
    fn split(self, class_names: &ClassNames, reading: &Reading) -> Result<Split, DataError> {
        let (path, columns) = (self.path.clone(), self.feature_names());
        if self.rows == 0 {
            return Err(DataError::NoRows { path });
        }
        let targets = class_names.targets(&self.labels, reading.target, &path)?;
        let clients = (!self.clients.is_empty()).then(|| natural_clients(self.clients));
        if self.images.is_empty() {
            let features = SplitFeatures::F32(self.features);
            return Ok(Split { shape: vec![columns.len()], features, targets, clients });
        }
        if columns.len() > 1 {
            return Err(DataError::ImageColumns { path, columns: columns.join(", ") });
        }
        let images = Mutex::new(self.images);
        let name = |row: usize| format!("the image of row {row} in {}", path.display());
        // A file's content is given away once, so that images and their files are not both in memory.
        let load = |row: usize| Ok(mem::take(&mut images.lock().unwrap_or_else(PoisonError::into_inner)[row]));
        let (shape, features) = images::stack(self.rows, reading.image_size, &name, &load)?;
        Ok(Split { shape, features, targets, clients })
    }
}

/// Returns `true` for a text that stands for a missing value.
pub(super) fn is_missing(text: &str) -> bool {
    MISSING.contains(&text.trim().to_ascii_lowercase().as_str())
}

/// Returns a cell as the name of a class or of a client.
fn text_of(cell: Cell<'_>) -> String {
    match cell {
        Cell::Text(text) => text.trim().to_owned(),
        Cell::Whole(number) => number.to_string(),
        Cell::Number(number) => number.to_string(),
        Cell::Boolean(boolean) => if boolean { "True" } else { "False" }.to_owned(),
        Cell::Image(_) => "bytes".to_owned(),
        Cell::Missing => String::new(),
    }
}

/// Returns the files of a table with one of these endings: the one at the path and that of `--test-data`, or those in a
/// directory whose names begin with `train` or `test`.
pub(super) fn find(request: &ReadRequest<'_>, endings: &[&str]) -> Result<Option<Vec<PathBuf>>, DataError> {
    let has_ending = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        endings.iter().any(|ending| name.ends_with(ending))
    };
    if request.place.is_file() {
        let test = request
            .reading
            .test_data
            .as_ref()
            .map(|path| path.canonicalize().map_err(|source| DataError::Read { path: path.clone(), source }));
        let files = || match test.transpose()? {
            Some(path) if path == request.place => Err(DataError::SameTestData { path, is_copy: false }),
            test => Ok([request.place.clone()].into_iter().chain(test).collect()),
        };
        return has_ending(&request.place).then(files).transpose();
    }
    let entries = fs::read_dir(&request.place).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(has_ending).filter(|path| split_of(path).is_some()).collect();
    files.sort();
    if !files.is_empty() && request.reading.test_data.is_some() {
        return Err(DataError::TestOfDirectory { path: request.place.clone() });
    }
    // A compressed file beside its plain one would be read as another shard.
    let stem = |path: &PathBuf| {
        let name = path.to_string_lossy().to_ascii_lowercase();
        endings.iter().find_map(|ending| name.strip_suffix(ending).map(str::to_owned))
    };
    if let Some(pair) = files.windows(2).find(|pair| stem(&pair[0]) == stem(&pair[1])) {
        let sets = pair.iter().map(|path| path.display().to_string()).collect();
        return Err(DataError::SeveralSets { place: request.place.clone(), sets });
    }
    Ok((!files.is_empty()).then_some(files))
}

/// Returns `true` for two files with the same bytes.
fn have_same_content(one: &Path, other: &Path) -> Result<bool, DataError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        |source| DataError::Read { path, source }
    };
    let length = |path: &Path| fs::metadata(path).map(|facts| facts.len()).map_err(refused(path));
    if length(one)? != length(other)? {
        return Ok(false);
    }
    let hash = |path: &Path| checksum::of_file(path).map_err(refused(path));
    Ok(hash(one)? == hash(other)?)
}

/// Returns `train` or `test` if the name of a file begins so.
fn split_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    ["train", "test"].into_iter().find(|split| name.starts_with(split))
}

/// Reads the shards of one split, one after the other; `None` if there are none.
fn tables(
    paths: &[&PathBuf],
    reading: &Reading,
    read_file: &dyn Fn(&Path, &Reading) -> Result<Table, DataError>,
) -> Result<Option<Table>, DataError> {
    let mut whole: Option<Table> = None;
    for path in paths {
        let next = read_file(path, reading)?;
        whole = Some(match whole {
            None => next,
            Some(whole) => whole.followed_by(next)?,
        });
    }
    Ok(whole)
}

/// Reads the files that [`find`] returned.
///
/// # Errors
/// A file is refused, or the files have other columns.
pub(super) fn read(
    request: &ReadRequest<'_>,
    paths: &[PathBuf],
    read_file: &dyn Fn(&Path, &Reading) -> Result<Table, DataError>,
) -> Result<ReadSplits, DataError> {
    let reading = request.reading;
    let is_directory = request.place.is_dir();
    let is_test = |path: &&PathBuf| {
        if is_directory { split_of(path) == Some("test") } else { **path != request.place }
    };
    let (test, first): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(is_test);
    if let (Some(_), [test], [first]) = (&reading.test_data, test.as_slice(), first.as_slice())
        && have_same_content(test, first)?
    {
        return Err(DataError::SameTestData { path: test.to_path_buf(), is_copy: true });
    }
    let [first, test] = [first, test].map(|paths| tables(&paths, reading, read_file));
    let (first, test) = (first?, test?);
    if let (Some(first), Some(test)) = (&first, &test) {
        test.check_names(first)?;
    }
    let (class_names, feature_names) = match first.as_ref().or(test.as_ref()) {
        Some(table) => (table.class_names(reading.target)?, table.feature_names()),
        None => return Err(DataError::Unrecognised { path: request.place.clone() }),
    };
    let test_path = test.as_ref().or(first.as_ref()).map(|table| table.path.clone()).unwrap_or_default();
    let split = |table: Option<Table>| table.map(|table| table.split(&class_names, reading)).transpose();
    let (first, test) = (split(first)?, split(test)?);
    FoundSplits { first, test, class_names, feature_names, test_files: [test_path.clone(), test_path] }.finish(request)
}
