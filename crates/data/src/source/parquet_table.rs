//! The reader of Parquet files, with columns of images as Hugging Face stores them: a struct of `bytes` and `path`.
//!
//! It is the cargo feature `parquet`. A build without the feature refuses the files by name.

#[cfg(feature = "parquet")]
use std::fs::File;
use std::path::{Path, PathBuf};

#[cfg(feature = "parquet")]
use parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};

#[cfg(feature = "parquet")]
use super::columns::Cell;
use super::columns::{self, Table};
use super::reading::Reading;
use super::{ReadRequest, Reader};
use crate::dataset::ReadSplits;
use crate::error::DataError;

pub(super) const READER: Reader = Reader {
    name: "parquet",
    files: "FILE.parquet, or a directory with train….parquet and test….parquet; a column may have png or jpeg images",
    takes: &["--label", "--client-column", "--test-data", "--test-split", "--image-size"],
    find,
    read,
};

fn find(request: &ReadRequest<'_>) -> Result<Option<Vec<PathBuf>>, DataError> {
    columns::find(request, &[".parquet"])
}

fn read(request: &ReadRequest<'_>, paths: &[PathBuf]) -> Result<ReadSplits, DataError> {
    columns::read(request, paths, &read_file)
}

#[cfg(not(feature = "parquet"))]
fn read_file(path: &Path, _: &Reading) -> Result<Table, DataError> {
    Err(DataError::NoParquet { path: path.to_owned() })
}

#[cfg(feature = "parquet")]
fn read_file(path: &Path, reading: &Reading) -> Result<Table, DataError> {
    let refused = |error: ParquetError| DataError::Parquet { path: path.to_owned(), reason: error.to_string() };
    let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    let reader = SerializedFileReader::new(file).map_err(refused)?;
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let mut table = Table::new(path, fields.iter().map(|field| field.name().to_owned()).collect(), reading)?;
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let of_hugging_face = metadata.into_iter().flatten().find(|entry| entry.key == "huggingface");
    if let (Some(text), Some(label)) = (of_hugging_face.and_then(|entry| entry.value.as_ref()), &reading.label) {
        table.name_labels(class_label(text, label));
    }
    for row in reader.get_row_iter(None).map_err(refused)? {
        for (column, (name, field)) in row.map_err(refused)?.get_column_iter().enumerate() {
            let Some(cell) = cell(field) else {
                let (path, row, column) = (path.to_owned(), table.rows(), name.clone());
                return Err(DataError::ColumnType { path, row, column, value: shown(field) });
            };
            table.push(column, cell)?;
        }
        table.end_row();
    }
    Ok(table)
}

/// Returns the names of a `ClassLabel` in the metadata that Hugging Face's `datasets` writes; none for another column.
#[cfg(feature = "parquet")]
fn class_label(metadata: &str, column: &str) -> Vec<String> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).unwrap_or_default();
    let names = metadata["info"]["features"][column]["names"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The most letters of a value in a message.
#[cfg(feature = "parquet")]
const MOST_LETTERS: usize = 40;

/// Returns the start of a field's text. A list may have thousands of values.
#[cfg(feature = "parquet")]
fn shown(field: &Field) -> String {
    let text = field.to_string();
    match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Returns the value of a field; `None` for a type that is neither a number, a text nor an image.
#[cfg(feature = "parquet")]
fn cell(field: &Field) -> Option<Cell<'_>> {
    Some(match field {
        Field::Null => Cell::Missing,
        Field::Bool(boolean) => Cell::Boolean(*boolean),
        Field::Byte(number) => Cell::Whole((*number).into()),
        Field::Short(number) => Cell::Whole((*number).into()),
        Field::Int(number) => Cell::Whole((*number).into()),
        Field::Long(number) => Cell::Whole((*number).into()),
        Field::UByte(number) => Cell::Whole((*number).into()),
        Field::UShort(number) => Cell::Whole((*number).into()),
        Field::UInt(number) => Cell::Whole((*number).into()),
        Field::ULong(number) => Cell::Whole((*number).into()),
        Field::Float16(number) => Cell::Number((*number).into()),
        Field::Float(number) => Cell::Number((*number).into()),
        Field::Double(number) => Cell::Number(*number),
        Field::Str(text) => Cell::Text(text),
        Field::Bytes(content) => Cell::Image(content.data()),
        Field::Group(group) => {
            let content = group.get_column_iter().find(|(name, _)| *name == "bytes")?.1;
            return cell(content);
        }
        _ => return None,
    })
}
