//! Writes a partition file: safetensors with `labels` U32 (n) and `examples` U8 (n, shape…), in that order.
//!
//! The header is padded with spaces so that the data start at a multiple of 64; the labels come first, since their
//! alignment is the greater. The header is written here and not by the safetensors crate, whose metadata come in the
//! order of a hash map, so that equal partitions are equal files.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum::{self, Hashing};
use crate::dataset::Examples;

/// What the data's start is a multiple of, in bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// What the header tells besides the tensors; all are strings in the file.
#[derive(Debug, Serialize)]
pub(crate) struct About<'a> {
    /// The dataset's identity.
    pub(crate) dataset: &'a str,
    pub(crate) classes: String,
    /// The client's number, or `test`.
    pub(crate) client: String,
}

#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    about: &'a About<'a>,
    labels: Tensor,
    examples: Tensor,
}

#[derive(Serialize)]
struct Tensor {
    dtype: &'static str,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The hashes of a whole file, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hashes {
    /// SHA-256 of the header and its length.
    header_sha256: String,
    /// SHA-256 of all that follows the header, as [`Partition::sha256`](crate::Partition::sha256) returns it.
    pub(crate) sha256: String,
}

/// Writes the given rows of `from`, which are gathered and hashed as they are written; the file is not yet synced.
pub(crate) fn write(path: &Path, from: &Examples, rows: &[u32], about: &About) -> io::Result<Hashes> {
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

/// Hashes a file again that [`write`] wrote.
pub(crate) fn hashes(path: &Path) -> io::Result<Hashes> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let header = (&mut file).take(u64::from_le_bytes(length));
    let header_sha256 = checksum::of_reader(length.as_slice().chain(header))?;
    Ok(Hashes { header_sha256, sha256: checksum::of_reader(file)? })
}

/// The length of the header as `u64`, and the header, padded.
fn header(shape: &[usize], size: usize, n: usize, about: &About) -> io::Result<Vec<u8>> {
    let labels = 4 * n;
    let header = Header {
        about,
        labels: Tensor { dtype: "U32", shape: vec![n], data_offsets: [0, labels] },
        examples: Tensor { dtype: "U8", shape: [&[n], shape].concat(), data_offsets: [labels, labels + n * size] },
    };
    let json = serde_json::to_vec(&header)?;
    let whole = (8 + json.len()).next_multiple_of(ALIGNMENT);
    let mut bytes = Vec::with_capacity(whole);
    bytes.extend_from_slice(&(whole as u64 - 8).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.resize(whole, b' ');
    Ok(bytes)
}
