//! Writes a partition file: safetensors with `labels` U32 (n) and `examples` U8 (n, shape…), in that order.
//!
//! The header is padded with spaces so that the data start at a multiple of 64. The labels come first, since they need
//! the larger alignment. The safetensors crate writes metadata in the order of a hash map; this module writes the
//! header itself, so that equal partitions are equal files.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use crate::checksum::{self, Hashing};
use crate::dataset::Split;

/// The alignment of the data in the file, in bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// The metadata of the header, all of them strings.
#[derive(Debug, Serialize)]
pub(crate) struct FileMetadata<'a> {
    /// The dataset's identity.
    pub(crate) dataset: &'a str,
    pub(crate) classes: String,
    /// The client's number, or `test`.
    pub(crate) client: String,
    /// The number of held-out rows, which follow the training rows; left out if there are none.
    #[serde(skip_serializing_if = "is_zero", serialize_with = "as_text")]
    pub(crate) held_out: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes a number as text, since all metadata of safetensors are texts.
fn as_text<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

#[derive(Serialize)]
struct FileHeader<'a> {
    #[serde(rename = "__metadata__")]
    about: &'a FileMetadata<'a>,
    labels: TensorEntry,
    examples: TensorEntry,
}

#[derive(Serialize)]
struct TensorEntry {
    dtype: &'static str,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The hashes of a file, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hashes {
    /// The SHA-256 of the header with its length.
    header_sha256: String,
    /// The SHA-256 of the data after the header, as [`Partition::sha256`](crate::map::Partition::sha256) returns it.
    pub(crate) sha256: String,
}

/// Writes the given rows of `from` and hashes the file. The file is not synced.
pub(crate) fn write(path: &Path, from: &Split, rows: &[u32], about: &FileMetadata) -> io::Result<Hashes> {
    let size = from.shape.iter().product::<usize>();
    let header = header(&from.shape, size, rows.len(), about)?;
    let mut file = File::create_new(path)?;
    file.write_all(&header)?;
    let mut out = BufWriter::with_capacity(1 << 18, Hashing::new(file));
    for &row in rows {
        out.write_all(&from.labels[row as usize].to_le_bytes())?;
    }
    for &row in rows {
        out.write_all(&from.pixels[row as usize * size..][..size])?;
    }
    Ok(Hashes { header_sha256: checksum::pieces_sha256([header.as_slice()]), sha256: out.into_inner()?.finish() })
}

/// Hashes a file that [`write`] wrote.
pub(crate) fn hashes(path: &Path) -> io::Result<Hashes> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let header = (&mut file).take(u64::from_le_bytes(length));
    let header_sha256 = checksum::of_reader(length.as_slice().chain(header))?;
    Ok(Hashes { header_sha256, sha256: checksum::of_reader(file)? })
}

/// Returns the length of the header as `u64`, followed by the padded header.
fn header(shape: &[usize], size: usize, n: usize, about: &FileMetadata) -> io::Result<Vec<u8>> {
    let labels = 4 * n;
    let header = FileHeader {
        about,
        labels: TensorEntry { dtype: "U32", shape: vec![n], data_offsets: [0, labels] },
        examples: TensorEntry { dtype: "U8", shape: [&[n], shape].concat(), data_offsets: [labels, labels + n * size] },
    };
    let json = serde_json::to_vec(&header)?;
    let whole = (8 + json.len()).next_multiple_of(ALIGNMENT);
    let mut bytes = Vec::with_capacity(whole);
    bytes.extend_from_slice(&(whole as u64 - 8).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.resize(whole, b' ');
    Ok(bytes)
}
