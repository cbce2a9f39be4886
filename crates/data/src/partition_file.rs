//! Writes a partition file: safetensors with `labels` U32 (n) or `targets` F32 (n), and then `examples` U8 or F32 (n,
//! shape…).
//!
//! The header is padded with spaces so that the data start at a multiple of 64. The targets come first, since they need
//! the larger alignment. The safetensors crate writes metadata in the order of a hash map; this module writes the
//! header itself, so that equal partitions are equal files.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum::{self, Hashing};
use crate::split::{Split, SplitFeatures, SplitTargets};

/// The alignment of the data in the file, in bytes.
pub(crate) const ALIGNMENT: usize = 64;

/// The metadata of the header, all of them strings.
#[derive(Debug, Serialize)]
pub(crate) struct FileMetadata<'a> {
    /// The dataset's identity.
    pub(crate) dataset: &'a str,
    /// The number of classes, if the targets are labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) classes: Option<String>,
    /// The client's number, or `test`.
    pub(crate) client: String,
}

#[derive(Serialize)]
struct FileHeader<'a> {
    #[serde(rename = "__metadata__")]
    about: &'a FileMetadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<TensorEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<TensorEntry>,
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
    let header = header(from, size, rows.len(), about)?;
    let mut file = File::create_new(path)?;
    file.write_all(&header)?;
    let mut out = BufWriter::with_capacity(1 << 18, Hashing::new(file));
    for &row in rows {
        out.write_all(&match &from.targets {
            SplitTargets::Classes(labels) => labels[row as usize].to_le_bytes(),
            SplitTargets::Real(values) => values[row as usize].to_le_bytes(),
        })?;
    }
    for &row in rows {
        let start = row as usize * size;
        match &from.features {
            SplitFeatures::U8(bytes) => out.write_all(&bytes[start..][..size])?,
            SplitFeatures::F32(values) => {
                values[start..][..size].iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
            }
        }
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
fn header(from: &Split, size: usize, n: usize, about: &FileMetadata) -> io::Result<Vec<u8>> {
    let end = 4 * n;
    let of_targets = || TensorEntry { dtype: from.targets.type_name(), shape: vec![n], data_offsets: [0, end] };
    let is_real = matches!(from.targets, SplitTargets::Real(_));
    let bytes = match from.features {
        SplitFeatures::U8(_) => n * size,
        SplitFeatures::F32(_) => 4 * n * size,
    };
    let header = FileHeader {
        about,
        labels: (!is_real).then(of_targets),
        targets: is_real.then(of_targets),
        examples: TensorEntry {
            dtype: from.features.kind().name(),
            shape: [&[n], from.shape.as_slice()].concat(),
            data_offsets: [end, end + bytes],
        },
    };
    let json = serde_json::to_vec(&header)?;
    let whole = (8 + json.len()).next_multiple_of(ALIGNMENT);
    let mut bytes = Vec::with_capacity(whole);
    bytes.extend_from_slice(&(whole as u64 - 8).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.resize(whole, b' ');
    Ok(bytes)
}
