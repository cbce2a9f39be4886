//! A split by hand, as a CSV file has it: the header `row,client` or `class,client,count`, then a line for each row, or
//! for each class of each client.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use csv::{Position, ReaderBuilder, StringRecord, Trim};

use crate::{checksum, error::DataError};

const OF_ROWS: [&str; 2] = ["row", "client"];
const OF_COUNTS: [&str; 3] = ["class", "client", "count"];

/// A split by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitTable {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of its content.
    pub sha256: String,
    /// The number of clients, which are 0 to `clients` − 1.
    pub clients: u32,
    pub(super) lines: SplitLines,
}

/// The lines after the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SplitLines {
    Rows(Vec<RowLine>),
    Counts(Vec<CountLine>),
}

/// A row of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowLine {
    pub(super) line: u64,
    pub(super) row: u32,
    pub(super) client: u32,
}

/// The number of a client's examples of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CountLine {
    pub(super) line: u64,
    /// The number or the name.
    pub(super) class: String,
    pub(super) client: u32,
    pub(super) count: u32,
}

impl SplitTable {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or a line is refused.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let cannot = |source| DataError::Read { path: path.to_owned(), source };
        // A pipe would wait for a writer.
        if !fs::metadata(path).map_err(cannot)?.is_file() {
            return Err(DataError::NotAFile { path: path.to_owned() });
        }
        let bytes = fs::read(path).map_err(cannot)?;
        Self::parse(path, &bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, DataError> {
        let sha256 = checksum::pieces_sha256([bytes]);
        let lines = SplitLines::Rows(Vec::new());
        let mut table = Self { path: path.to_owned(), sha256, clients: 0, lines };
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text);
        let mut lines = LineCounter { text, byte: 0, line: 1 };
        let header = reader.headers().map_err(|error| table.refuse_csv(&error, &mut lines))?.clone();
        let mut records = Vec::new();
        for record in reader.into_records() {
            let record = record.map_err(|error| table.refuse_csv(&error, &mut lines))?;
            records.push((lines.line_of(record.position()), record));
        }
        let first_lines = if header == OF_ROWS[..] {
            table.take_rows(&records)?
        } else if header == OF_COUNTS[..] {
            table.take_counts(&records)?
        } else {
            let header = header.iter().collect::<Vec<_>>().join(",");
            return Err(table.refuse(1, format!("the header is `{header}`; give `row,client` or `class,client,count`")));
        };
        table.clients = table.count_clients(&first_lines)?;
        Ok(table)
    }

    /// Takes the lines of rows, and returns the first line of each client.
    fn take_rows(&mut self, records: &[(u64, StringRecord)]) -> Result<BTreeMap<u32, u64>, DataError> {
        let mut first_lines = BTreeMap::new();
        let mut lines = Vec::with_capacity(records.len());
        for &(line, ref record) in records {
            let [row, client] = self.numbers(line, record.iter(), OF_ROWS)?;
            first_lines.entry(client).or_insert(line);
            lines.push(RowLine { line, row, client });
        }
        self.lines = SplitLines::Rows(lines);
        Ok(first_lines)
    }

    /// Takes the lines of counts, and returns the first line of each client.
    fn take_counts(&mut self, records: &[(u64, StringRecord)]) -> Result<BTreeMap<u32, u64>, DataError> {
        let mut first_lines = BTreeMap::new();
        let mut pairs = BTreeMap::new();
        let mut lines = Vec::with_capacity(records.len());
        for &(line, ref record) in records {
            let class = record.get(0).unwrap_or_default().to_owned();
            let [client, count] = self.numbers(line, record.iter().skip(1), ["client", "count"])?;
            if let Some(before) = pairs.insert((class.clone(), client), line) {
                let why = format!("line {before} has class {class} of client {client}, too; give each pair once");
                return Err(self.refuse(line, why));
            }
            first_lines.entry(client).or_insert(line);
            lines.push(CountLine { line, class, client, count });
        }
        let with_examples: BTreeSet<u32> = lines.iter().filter(|line| line.count > 0).map(|line| line.client).collect();
        if let Some((client, &line)) = first_lines.iter().find(|(client, _)| !with_examples.contains(client)) {
            return Err(
                self.refuse(line, format!("the counts of client {client} are 0; give it an example, or leave it out"))
            );
        }
        self.lines = SplitLines::Counts(lines);
        Ok(first_lines)
    }

    /// Returns the numbers of a record.
    fn numbers<'t, const N: usize>(
        &self,
        line: u64,
        texts: impl Iterator<Item = &'t str>,
        names: [&str; N],
    ) -> Result<[u32; N], DataError> {
        let mut numbers = [0; N];
        for ((number, text), name) in numbers.iter_mut().zip(texts).zip(names) {
            let read = text.parse();
            *number = read.map_err(|_| {
                self.refuse(line, format!("the {name} is `{text}`; give a whole number from 0, below 2^32"))
            })?;
        }
        Ok(numbers)
    }

    /// Returns the number of clients, whose first lines are given.
    fn count_clients(&self, first_lines: &BTreeMap<u32, u64>) -> Result<u32, DataError> {
        let Some((&largest, &line)) = first_lines.last_key_value() else {
            return Err(self.refuse(1, "no line follows the header; give one for each client at least".to_owned()));
        };
        match (0..=largest).zip(first_lines.keys()).find(|(expected, client)| expected != *client) {
            Some((missing, _)) => Err(self.refuse(
                line,
                format!("the client is {largest}, and no line has client {missing}; number the clients without gaps"),
            )),
            None => largest.checked_add(1).ok_or_else(|| self.refuse(line, "the client is too large".to_owned())),
        }
    }

    /// Returns the refusal of a line.
    pub(super) fn refuse(&self, line: u64, why: String) -> DataError {
        DataError::SplitLine { path: self.path.clone(), line, why }
    }

    fn refuse_csv(&self, error: &csv::Error, lines: &mut LineCounter<'_>) -> DataError {
        let line = lines.line_of(error.position());
        let why = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("it has {len} values, and the header has {expected_len}; give a value for each name")
            }
            csv::ErrorKind::Utf8 { .. } => "it is no UTF-8 text; save the file as UTF-8".to_owned(),
            _ => format!("it cannot be read: {error}"),
        };
        self.refuse(line, why)
    }
}

/// Counts the lines of a text. The counter of the csv crate is behind by one after a blank line, or one that ends as on
/// Windows.
struct LineCounter<'t> {
    text: &'t [u8],
    /// The place up to which the lines are counted.
    byte: usize,
    line: u64,
}

impl LineCounter<'_> {
    /// Returns the line of a record at `position`, from 1. Positions ascend.
    fn line_of(&mut self, position: Option<&Position>) -> u64 {
        let start = position.map_or(self.byte, |position| position.byte() as usize);
        let ends = self.text[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = &self.text[self.byte..start + ends];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte = start + ends;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SplitTable, DataError> {
        SplitTable::parse(Path::new("split.csv"), text.as_bytes())
    }

    #[test]
    fn both_headers_are_read() {
        let rows = parse("row,client\n3,0\n 1 , 1 \n").unwrap();
        assert_eq!(
            (rows.clients, rows.lines),
            (
                2,
                SplitLines::Rows(vec![RowLine { line: 2, row: 3, client: 0 }, RowLine { line: 3, row: 1, client: 1 },])
            )
        );
        // A spreadsheet begins with a byte-order mark and ends lines as Windows does.
        let counts = parse("\u{feff}class,client,count\r\n7,0,20\r\n").unwrap();
        assert_eq!(
            (counts.clients, counts.lines),
            (1, SplitLines::Counts(vec![CountLine { line: 2, class: "7".into(), client: 0, count: 20 },]))
        );
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let empty_rows = parse("row,client\n0,0\n").unwrap();
        assert_eq!(empty_rows.sha256, checksum::of_text("row,client\n0,0\n"));
    }

    #[test]
    fn a_refusal_has_line_value_and_remedy() {
        let cases = [
            ("", "split.csv, line 1: the header is ``; give `row,client` or `class,client,count`"),
            ("client,row\n0,0\n", "line 1: the header is `client,row`; give `row,client` or"),
            ("row,client\n", "line 1: no line follows the header; give one for each client at least"),
            ("row,client\n0,0\n1\n", "line 3: it has 1 values, and the header has 2; give a value for each name"),
            ("row,client\n0,0\nx,0\n", "line 3: the row is `x`; give a whole number from 0, below 2^32"),
            ("row,client\n0,-1\n", "line 2: the client is `-1`; give a whole number from 0, below 2^32"),
            ("row,client\n0,0\n1,3\n", "line 3: the client is 3, and no line has client 1; number the clients"),
            ("row,client\n0,4294967295\n", "line 2: the client is 4294967295, and no line has client 0"),
            ("row,client\r\n\r\n0,0\r\nx,0\r\n", "line 4: the row is `x`"),
            ("class,client,count\n0,0,1\n0,1,0\n1,1,0\n", "line 3: the counts of client 1 are 0; give it an example"),
            ("class,client,count\n0,0,1.5\n", "line 2: the count is `1.5`; give a whole number"),
            (
                "class,client,count\n0,0,1\n1,0,1\n0,0,2\n",
                "line 4: line 2 has class 0 of client 0, too; give each pair once",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
        let error = SplitTable::parse(Path::new("s.csv"), b"row,client\n\xff,0\n").unwrap_err().to_string();
        assert!(error.contains("line 2: it is no UTF-8 text; save the file as UTF-8"), "{error}");
    }
}
