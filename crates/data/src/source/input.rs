//! Opens a file of a dataset, plain or gzip. The content decides, not the name.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The largest compression ratio of deflate.
pub(super) const GREATEST_RATIO: u64 = 1032;

/// An open file of a dataset.
pub(crate) struct Input {
    /// The decompressed content.
    pub(crate) reader: Box<dyn Read>,
    /// The largest possible number of bytes of the content.
    pub(crate) room: u64,
}

/// Opens a regular file.
///
/// # Errors
/// The file cannot be read, or has the name of a gzip file and another content, which begins as none of `plain`.
pub(crate) fn open(path: &Path, plain: &[&[u8]]) -> Result<Input, DataError> {
    let unreadable = |source| DataError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for a writer, and a device has no end.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let is_gzip = start.starts_with(&GZIP);
    // A plain file may have kept the name of the file that it was decompressed from.
    let is_plain = plain.iter().any(|plain| start.starts_with(plain));
    if !is_gzip && !is_plain && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz")) {
        return Err(DataError::NotGzip { path: path.to_owned(), start });
    }
    if is_gzip {
        let reader = Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)));
        Ok(Input { reader, room: bytes.saturating_mul(GREATEST_RATIO) })
    } else {
        Ok(Input { reader: Box::new(file), room: bytes })
    }
}
