//! The IDX format of MNIST (LeCun 1998): two zero bytes, a type, the number of sizes, the sizes (big-endian `u32`), the
//! values.

use std::io::{self, Read};
use std::path::Path;

use crate::DataError;
use crate::dataset::Examples;

/// The type code of unsigned bytes, the only one that image sets use.
const UNSIGNED_BYTE: u8 = 0x08;

/// One IDX file of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idx {
    /// Examples first.
    pub(crate) sizes: Vec<u32>,
    /// Row-major, as long as the sizes' product.
    pub(crate) values: Vec<u8>,
}

/// What an IDX file is expected to hold; decides how many sizes it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// (n, height, width) or (n, height, width, channels)
    Images,
    /// (n)
    Labels,
}

impl Kind {
    fn allows(self, sizes: u8) -> bool {
        match self {
            Self::Images => (3..=4).contains(&sizes),
            Self::Labels => sizes == 1,
        }
    }

    fn wants(self) -> &'static str {
        match self {
            Self::Images => "images (00 00 08 03, or 04 for colour)",
            Self::Labels => "labels (00 00 08 01)",
        }
    }
}

/// Reads a whole IDX file; `path` is for messages, `room` bounds what is allocated on the header's word.
///
/// # Errors
/// A wrong magic number, no examples, fewer or more bytes than the header promises, or a failure of the reader.
pub(crate) fn read(reader: &mut impl Read, kind: Kind, path: &Path, room: u64) -> Result<Idx, DataError> {
    let truncated = |promised, found| DataError::Truncated { path: path.to_owned(), promised, found };
    let mut header = Vec::new();
    let mut more = |wanted: usize, promised: u64| -> Result<Vec<u8>, DataError> {
        let before = header.len();
        take(reader, wanted as u64, &mut header).map_err(|source| unreadable(path, source))?;
        if header.len() < before + wanted {
            return Err(truncated(promised, header.len() as u64));
        }
        Ok(header[before..].to_vec())
    };
    let magic = more(4, 4)?;
    if magic[..3] != [0, 0, UNSIGNED_BYTE] || !kind.allows(magic[3]) {
        let found = [magic[0], magic[1], magic[2], magic[3]];
        return Err(DataError::Magic { path: path.to_owned(), found, wants: kind.wants() });
    }
    let head = 4 + 4 * u64::from(magic[3]);
    let sizes: Vec<u32> = more(4 * usize::from(magic[3]), head)?
        .chunks_exact(4)
        .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let values = values(reader, &sizes, head, path, room)?;
    Ok(Idx { sizes, values })
}

fn values(reader: &mut impl Read, sizes: &[u32], head: u64, path: &Path, room: u64) -> Result<Vec<u8>, DataError> {
    if sizes.contains(&0) {
        return Err(DataError::Empty { path: path.to_owned(), sizes: sizes.to_vec() });
    }
    let product = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(u64::from(size)));
    let promised = product.and_then(|product| product.checked_add(head));
    let (Some(product), Some(promised)) = (product, promised) else {
        return Err(DataError::TooLarge { path: path.to_owned(), sizes: sizes.to_vec() });
    };
    let mut values = Vec::new();
    if product <= room {
        values.reserve_exact(product as usize);
    }
    take(reader, product, &mut values).map_err(|source| unreadable(path, source))?;
    let found = values.len() as u64;
    if found < product {
        return Err(DataError::Truncated { path: path.to_owned(), promised, found: head + found });
    }
    // Not by `take`: here a gzip stream that lacks its checksum is an error.
    let mut rest = Vec::new();
    reader.take(1).read_to_end(&mut rest).map_err(|source| unreadable(path, source))?;
    if rest.is_empty() { Ok(values) } else { Err(DataError::Trailing { path: path.to_owned(), promised }) }
}

/// Appends at most `limit` bytes. A gzip stream that ends early counts as an end: the caller knows what is missing.
fn take(reader: &mut impl Read, limit: u64, into: &mut Vec<u8>) -> io::Result<()> {
    match reader.take(limit).read_to_end(into) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other.map(|_| ()),
    }
}

fn unreadable(path: &Path, source: io::Error) -> DataError {
    DataError::Read { path: path.to_owned(), source }
}

/// Puts images and labels together; the paths are for messages.
///
/// # Errors
/// Where their numbers differ.
pub(crate) fn join(images: Idx, image_path: &Path, labels: Idx, label_path: &Path) -> Result<Examples, DataError> {
    if images.sizes[0] != labels.sizes[0] {
        return Err(DataError::Counts {
            image_path: image_path.to_owned(),
            images: images.sizes[0],
            label_path: label_path.to_owned(),
            labels: labels.sizes[0],
        });
    }
    Ok(Examples {
        shape: images.sizes[1..].iter().map(|&size| size as usize).collect(),
        pixels: images.values,
        labels: labels.values.iter().map(|&label| u32::from(label)).collect(),
    })
}

#[cfg(test)]
mod tests;
