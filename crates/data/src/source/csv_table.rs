//! The reader of CSV files, plain or gzip. The first line names the columns.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::columns::{self, Cell, Table};
use super::reading::Reading;
use super::{ReadRequest, Reader, input};
use crate::counted::counted;
use crate::dataset::ReadSplits;
use crate::error::DataError;

pub(super) const READER: Reader = Reader {
    name: "csv",
    files: "FILE.csv or FILE.tsv, plain or gzip, whose first line names the columns; or a directory with train….csv and test….csv",
    takes: &["--label", "--client-column", "--test-data", "--test-split"],
    find,
    read,
};

const ENDINGS: [&str; 4] = [".csv", ".csv.gz", ".tsv", ".tsv.gz"];

fn find(request: &ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError> {
    columns::find(request, &ENDINGS)
}

fn read(request: &ReadRequest<'_>, paths: &[PathBuf]) -> Result<ReadSplits, DataError> {
    columns::read(request, paths, &read_file)
}

fn read_file(path: &Path, reading: &Reading) -> Result<Table, DataError> {
    fill(path, &|names| Table::new(path, names, reading))
}

/// Returns `true` for a file that this reader takes by its name.
pub(super) fn is_table(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Reads the features alone, without the columns that are `ignored`.
pub(super) fn read_features(path: &Path, ignored: &[&str]) -> Result<Table, DataError> {
    fill(path, &|names| Table::of_features(path, names, ignored))
}

/// Reads all rows into the table that `begin` makes of the columns' names.
fn fill(path: &Path, begin: &dyn Fn(Vec<String>) -> Result<Table, DataError>) -> Result<Table, DataError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_tabbed = name.ends_with(".tsv") || name.ends_with(".tsv.gz");
    let mut input = input::open(path, &[])?.reader;
    let refused = |error: csv::Error| DataError::Csv { path: path.to_owned(), reason: reason(&error) };
    // Some programs begin a file with the mark of its encoding.
    let mut start = Vec::new();
    let unreadable = |source| DataError::Read { path: path.to_owned(), source };
    input.by_ref().take(3).read_to_end(&mut start).map_err(unreadable)?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).to_vec();
    let delimiter = if is_tabbed { b'\t' } else { b',' };
    let mut records = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(start.as_slice().chain(input));
    let names: Vec<String> = records.headers().map_err(refused)?.iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err(DataError::NoHeader { path: path.to_owned(), columns: names.join(", ") });
    }
    let mut table = begin(names)?;
    let mut record = csv::StringRecord::new();
    while records.read_record(&mut record).map_err(refused)? {
        record.iter().enumerate().try_for_each(|(column, text)| table.push(column, Cell::Text(text)))?;
        table.end_row();
    }
    Ok(table)
}

/// Returns the fault with its line.
fn reason(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line} has {}, and the first line {expected_len}", counted(*len, "cell"))
        }
        csv::ErrorKind::Utf8 { .. } => format!("line {line} is no UTF-8"),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}
