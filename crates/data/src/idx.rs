//! Reads the IDX format of MNIST (LeCun 1998): two zero bytes, a type, the number of sizes, the sizes (big-endian
//! `u32`), the values.

use std::io::{self, Read};
use std::path::Path;

use crate::dataset::Split;
use crate::error::DataError;

/// The type code of unsigned bytes, the only type that image datasets use.
const UNSIGNED_BYTE: u8 = 0x08;

/// The content of an IDX file of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Idx {
    /// The sizes; the first is the number of examples.
    pub(crate) sizes: Vec<u32>,
    /// The values, row-major; their number is the product of the sizes.
    pub(crate) values: Vec<u8>,
}

/// The expected content of an IDX file, which determines the number of its sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdxContent {
    /// (n, height, width) or (n, height, width, channels)
    Images,
    /// (n)
    Labels,
}

impl IdxContent {
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

/// Reads a whole IDX file. `path` is for messages. `room` bounds the memory that is allocated because the header
/// demands it.
///
/// # Errors
/// The magic number is wrong, there are no examples, the number of bytes differs from the header, or the reader fails.
pub(crate) fn read(reader: &mut impl Read, content: IdxContent, path: &Path, room: u64) -> Result<Idx, DataError> {
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
    if magic[..3] != [0, 0, UNSIGNED_BYTE] || !content.allows(magic[3]) {
        let found = [magic[0], magic[1], magic[2], magic[3]];
        return Err(DataError::Magic { path: path.to_owned(), found, wants: content.wants() });
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
    // Without `take`, so that a gzip stream without its checksum is an error.
    let mut rest = Vec::new();
    reader.take(1).read_to_end(&mut rest).map_err(|source| unreadable(path, source))?;
    if rest.is_empty() { Ok(values) } else { Err(DataError::Trailing { path: path.to_owned(), promised }) }
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

/// Combines images and labels to a split. The paths are for messages.
///
/// # Errors
/// The numbers of images and labels differ.
pub(crate) fn join(images: Idx, image_path: &Path, labels: Idx, label_path: &Path) -> Result<Split, DataError> {
    if images.sizes[0] != labels.sizes[0] {
        return Err(DataError::Counts {
            image_path: image_path.to_owned(),
            images: images.sizes[0],
            label_path: label_path.to_owned(),
            labels: labels.sizes[0],
        });
    }
    Ok(Split {
        shape: images.sizes[1..].iter().map(|&size| size as usize).collect(),
        pixels: images.values,
        labels: labels.values.iter().map(|&label| u32::from(label)).collect(),
    })
}

#[cfg(test)]
mod tests;
