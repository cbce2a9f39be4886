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

/// The bytes at the start in which the delimiter is looked for.
const MOST_OF_HEADER: u64 = 1 << 16;

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
    let mut input = input::open(path, &[])?.reader;
    let refused = |error: csv::Error| DataError::Csv { path: path.to_owned(), reason: reason(&error) };
    // Some programs begin a file with the mark of its encoding.
    let mut start = Vec::new();
    input.by_ref().take(MOST_OF_HEADER).read_to_end(&mut start).map_err(|error| refused(error.into()))?;
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    if start.starts_with(b"PK\x03\x04") {
        return Err(DataError::Csv {
            path: path.to_owned(),
            reason: "it is a zip file, such as that of a spreadsheet".into(),
        });
    }
    let mut records = csv::ReaderBuilder::new().delimiter(delimiter_of(start)).from_reader(start.chain(input));
    let names: Vec<String> = records.headers().map_err(refused)?.iter().map(|name| name.trim().to_owned()).collect();
    if names.is_empty() {
        return Err(DataError::NoRows { path: path.to_owned() });
    }
    if is_row(&names) {
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

/// Returns the delimiter of a file that begins so. Spreadsheets of many countries write a semicolon, since their
/// numbers have a comma.
fn delimiter_of(start: &[u8]) -> u8 {
    let line = start.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|delimiter| line.contains(delimiter)).unwrap_or(b',')
}

/// Returns `true` for names that are the values of a row: they are all numbers, or one has a fraction.
fn is_row(names: &[String]) -> bool {
    let numbers: Vec<Option<f64>> = names.iter().map(|name| name.parse().ok()).collect();
    numbers.iter().all(Option::is_some) || numbers.iter().flatten().any(|number| number.fract() != 0.0)
}

/// Returns the fault with its row. The crate's number of a line is behind by one where lines end as on Windows.
fn reason(error: &csv::Error) -> String {
    let place = match error.position().map_or(0, csv::Position::record) {
        0 => "the first line".to_owned(),
        record => format!("row {record} below the names"),
    };
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{place} has {}, and the first line {expected_len}", counted(*len, "cell"))
        }
        csv::ErrorKind::Utf8 { .. } => format!("{place} is no UTF-8; save the file as UTF-8"),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}
