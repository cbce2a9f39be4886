//! Reads the IDX format of MNIST (LeCun 1998): two zero bytes, a type, the number of sizes, the sizes (big-endian
//! `u32`), the values (big-endian).

use std::io::{self, Read};
use std::path::Path;

use super::array::{RawArray, RawValues};
use crate::error::DataError;

/// The expected content of an IDX file, which determines the number of its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdxContent {
    /// (n, features), (n, height, width) or (n, height, width, channels)
    Images,
    /// (n), or (n, columns) with the label in the first column
    Labels,
}

impl IdxContent {
    fn allows(self, sizes: u8) -> bool {
        match self {
            Self::Images => (2..=4).contains(&sizes),
            Self::Labels => (1..=2).contains(&sizes),
        }
    }

    fn wants(self) -> &'static str {
        match self {
            Self::Images => "images (00 00, a type such as 08, and 02 to 04)",
            Self::Labels => "labels (00 00, a type such as 08, and 01 or 02)",
        }
    }
}

/// A type of IDX values: its code, its size in bytes, and the conversion of all bytes.
struct IdxType {
    code: u8,
    bytes: u64,
    values: fn(Vec<u8>) -> RawValues,
}

static TYPES: [IdxType; 6] = [
    IdxType { code: 0x08, bytes: 1, values: RawValues::U8 },
    IdxType { code: 0x09, bytes: 1, values: |bytes| floats(&bytes, |[byte]| f32::from(byte as i8)) },
    IdxType { code: 0x0b, bytes: 2, values: |bytes| floats(&bytes, |bytes| f32::from(i16::from_be_bytes(bytes))) },
    IdxType { code: 0x0c, bytes: 4, values: |bytes| doubles(&bytes, |bytes| f64::from(i32::from_be_bytes(bytes))) },
    IdxType { code: 0x0d, bytes: 4, values: |bytes| floats(&bytes, f32::from_be_bytes) },
    IdxType { code: 0x0e, bytes: 8, values: |bytes| doubles(&bytes, f64::from_be_bytes) },
];

fn floats<const N: usize>(bytes: &[u8], value: fn([u8; N]) -> f32) -> RawValues {
    RawValues::F32(bytes.as_chunks().0.iter().map(|&bytes| value(bytes)).collect())
}

fn doubles<const N: usize>(bytes: &[u8], value: fn([u8; N]) -> f64) -> RawValues {
    RawValues::F64(bytes.as_chunks().0.iter().map(|&bytes| value(bytes)).collect())
}

/// Reads a whole IDX file. `path` is for messages. `room` bounds the memory that is allocated because the header
/// demands it.
///
/// # Errors
/// The magic number is wrong, there are no examples, the number of bytes differs from the header, or the reader fails.
pub(crate) fn read(reader: &mut impl Read, content: IdxContent, path: &Path, room: u64) -> Result<RawArray, DataError> {
    let mut header = Vec::new();
    let mut more = |wanted: usize, promised: u64| -> Result<Vec<u8>, DataError> {
        let before = header.len();
        take(reader, wanted as u64, &mut header).map_err(|source| unreadable(path, source))?;
        if header.len() < before + wanted {
            return Err(DataError::Truncated { path: path.to_owned(), promised, found: header.len() as u64 });
        }
        Ok(header[before..].to_vec())
    };
    let magic = more(4, 4)?;
    let known = TYPES.iter().find(|known| magic[..3] == [0, 0, known.code] && content.allows(magic[3]));
    let Some(known) = known else {
        let found = [magic[0], magic[1], magic[2], magic[3]];
        return Err(DataError::Magic { path: path.to_owned(), found, wants: content.wants() });
    };
    let head = 4 + 4 * u64::from(magic[3]);
    let sizes = more(4 * usize::from(magic[3]), head)?;
    let sizes: Vec<u32> = sizes.as_chunks().0.iter().map(|&bytes| u32::from_be_bytes(bytes)).collect();
    let lengths = Lengths::new(&sizes, known.bytes, head, path)?;
    let bytes = lengths.read_values(reader, path, room)?;
    let sizes = sizes.iter().map(|&size| size as usize).collect();
    Ok(RawArray { path: path.to_owned(), sizes, values: (known.values)(bytes) })
}

/// The bytes that a header promises.
struct Lengths {
    /// The bytes of the header.
    head: u64,
    /// The bytes of the values.
    values: u64,
}

impl Lengths {
    fn new(sizes: &[u32], bytes: u64, head: u64, path: &Path) -> Result<Self, DataError> {
        if sizes.contains(&0) {
            return Err(DataError::Empty { path: path.to_owned(), sizes: sizes.to_vec() });
        }
        let values = sizes.iter().try_fold(bytes, |product, &size| product.checked_mul(u64::from(size)));
        match values.filter(|values| values.checked_add(head).is_some()) {
            Some(values) => Ok(Self { head, values }),
            None => Err(DataError::TooLarge { path: path.to_owned(), sizes: sizes.to_vec() }),
        }
    }

    fn read_values(&self, reader: &mut impl Read, path: &Path, room: u64) -> Result<Vec<u8>, DataError> {
        let promised = self.head + self.values;
        let mut values = Vec::new();
        if self.values <= room {
            values.reserve_exact(self.values as usize);
        }
        take(reader, self.values, &mut values).map_err(|source| unreadable(path, source))?;
        let found = values.len() as u64;
        if found < self.values {
            return Err(DataError::Truncated { path: path.to_owned(), promised, found: self.head + found });
        }
        // Without `take`, so that a gzip stream without its checksum is an error.
        let mut rest = Vec::new();
        reader.take(1).read_to_end(&mut rest).map_err(|source| unreadable(path, source))?;
        if rest.is_empty() { Ok(values) } else { Err(DataError::Trailing { path: path.to_owned(), promised }) }
    }
}

/// Appends at most `limit` bytes. The early end of a gzip stream is no error here, since the caller checks the number
/// of bytes.
fn take(reader: &mut impl Read, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
    match reader.take(limit).read_to_end(into) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other.map(|_| ()),
    }
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
