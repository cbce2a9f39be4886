//! The format of a NumPy array: a magic number, a header that is a literal of Python, the values.

use std::io::Read;
use std::path::Path;

use super::array::{RawArray, RawValues};
use crate::counted::counted;
use crate::error::DataError;

/// The first bytes of an array.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// An array of numbers, or of texts such as the names of classes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NpyArray {
    Numbers(RawArray),
    Texts(Vec<String>),
}

impl NpyArray {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(array) => array.sizes.first().copied().unwrap_or_default(),
            Self::Texts(texts) => texts.len(),
        }
    }
}

/// Reads a whole array. `path` is for messages. `room` bounds the memory that is allocated because the header demands
/// it.
///
/// # Errors
/// The content is no array, is truncated, or has a type that is neither a number nor a text.
pub(super) fn read(reader: &mut dyn Read, path: &Path, room: u64) -> Result<NpyArray, DataError> {
    let refused = |reason: String| DataError::Npy { path: path.to_owned(), reason };
    let header = Header::read(reader).map_err(refused)?;
    let kind = NpyType::parse(&header.descr).ok_or_else(|| refused(header.type_refusal()))?;
    let promised = header.sizes.iter().try_fold(kind.bytes as u64, |all, &size| all.checked_mul(size as u64));
    let promised = promised.filter(|promised| *promised <= room.saturating_add(1 << 16));
    let Some(promised) = promised else {
        return Err(refused(format!("it is truncated: its header promises the sizes {:?}", header.sizes)));
    };
    let mut bytes = Vec::with_capacity(promised as usize);
    (&mut *reader)
        .take(promised)
        .read_to_end(&mut bytes)
        .map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    if (bytes.len() as u64) < promised {
        return Err(refused(format!(
            "it is truncated: its header promises {} of values, and it has {}",
            counted(promised, "byte"),
            bytes.len()
        )));
    }
    // Two arrays may be saved to one file, of which the second would be lost.
    let mut rest = Vec::new();
    reader.take(1).read_to_end(&mut rest).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
    if !rest.is_empty() {
        return Err(refused("it continues after its array; save one array a file".to_owned()));
    }
    if header.is_fortran {
        bytes = row_major(&bytes, kind.bytes, &header.sizes);
    }
    if header.sizes.contains(&0) || header.sizes.is_empty() {
        return Err(refused(format!("it holds no examples (its sizes are {:?})", header.sizes)));
    }
    Ok(match kind.values(&bytes) {
        Values::Numbers(values) => NpyArray::Numbers(RawArray { path: path.to_owned(), sizes: header.sizes, values }),
        Values::Texts(texts) => NpyArray::Texts(texts),
    })
}

/// Returns the values of `bytes` bytes each in the order of rows, given those in the order of columns. The values of a
/// pandas table are often in that order.
fn row_major(values: &[u8], bytes: usize, sizes: &[usize]) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(values.len());
    let mut index = vec![0; sizes.len()];
    for _ in 0..sizes.iter().product() {
        let place = index.iter().zip(sizes).rev().fold(0, |place, (at, size)| place * size + at);
        ordered.extend_from_slice(&values[place * bytes..][..bytes]);
        for (at, size) in index.iter_mut().zip(sizes).rev() {
            *at = (*at + 1) % size;
            if *at > 0 {
                break;
            }
        }
    }
    ordered
}

/// The header of an array.
struct Header {
    descr: String,
    is_fortran: bool,
    sizes: Vec<usize>,
}

impl Header {
    fn read(reader: &mut dyn Read) -> Result<Self, String> {
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| "it does not begin as a NumPy array".to_owned())?;
        if !start.starts_with(MAGIC) {
            return Err("it does not begin as a NumPy array".to_owned());
        }
        let mut length = [0; 4];
        let width = if start[6] == 1 { 2 } else { 4 };
        let truncated = |_| "its header is truncated".to_owned();
        reader.read_exact(&mut length[..width]).map_err(truncated)?;
        let length = u32::from_le_bytes(length);
        let mut text = String::new();
        reader.take(length.into()).read_to_string(&mut text).map_err(truncated)?;
        Self::parse(&text).ok_or_else(|| format!("its header is {:?}", text.trim()))
    }

    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`.
    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| Some(text.split_once(&format!("'{key}':"))?.1.trim_start());
        let descr = value("descr")?;
        // A list is that of a structured type, which has no one descriptor.
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next()).unwrap_or("structured");
        let sizes = value("shape")?.strip_prefix('(')?.split(')').next()?;
        let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().ok());
        let is_fortran = value("fortran_order")?.starts_with("True");
        Some(Self { descr: descr.to_owned(), is_fortran, sizes: sizes.collect::<Option<_>>()? })
    }

    fn type_refusal(&self) -> String {
        match self.descr.as_str() {
            "|O" => "its values are Python objects; save it with a number's dtype".to_owned(),
            descr => format!("its type is {descr}; save it as uint8, float32 or another type of numbers"),
        }
    }
}

/// The type of an array's values.
struct NpyType {
    is_big: bool,
    code: u8,
    /// The bytes of a value.
    bytes: usize,
}

enum Values {
    Numbers(RawValues),
    Texts(Vec<String>),
}

impl NpyType {
    fn parse(descr: &str) -> Option<Self> {
        let (order, rest) = descr.split_at_checked(1)?;
        let (code, size) = rest.split_at_checked(1)?;
        let (code, size): (u8, usize) = (code.as_bytes()[0], size.parse().ok()?);
        let is_known = match code {
            b'b' => size == 1,
            b'u' | b'i' => [1, 2, 4, 8].contains(&size),
            b'f' => [4, 8].contains(&size),
            b'U' | b'S' => size > 0,
            _ => false,
        };
        let bytes = if code == b'U' { 4 * size } else { size };
        is_known.then_some(Self { is_big: order == ">", code, bytes })
    }

    fn values(&self, bytes: &[u8]) -> Values {
        let values = || bytes.chunks_exact(self.bytes);
        let numbers = match (self.code, self.bytes) {
            (b'u' | b'b', 1) => RawValues::U8(bytes.to_vec()),
            (b'i', 1 | 2) | (b'u', 2) => RawValues::F32(values().map(|value| self.integer(value) as f32).collect()),
            (b'i' | b'u', _) => RawValues::F64(values().map(|value| self.integer(value) as f64).collect()),
            (b'f', 4) => RawValues::F32(values().map(|value| f32::from_bits(self.word(value) as u32)).collect()),
            (b'f', _) => RawValues::F64(values().map(|value| f64::from_bits(self.word(value))).collect()),
            _ => return Values::Texts(values().map(|value| self.text(value)).collect()),
        };
        Values::Numbers(numbers)
    }

    /// Returns the bits of a value.
    fn word(&self, value: &[u8]) -> u64 {
        let add = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        if self.is_big { value.iter().fold(0, add) } else { value.iter().rev().fold(0, add) }
    }

    fn integer(&self, value: &[u8]) -> i128 {
        let word = self.word(value);
        let unused = 64 - 8 * value.len() as u32;
        match self.code {
            b'i' => i128::from((word << unused) as i64 >> unused),
            _ => i128::from(word),
        }
    }

    /// Returns a text, which is padded with zeros.
    fn text(&self, value: &[u8]) -> String {
        let letters: Vec<u32> = match self.code {
            b'U' => value.chunks_exact(4).map(|letter| self.word(letter) as u32).collect(),
            _ => value.iter().map(|&byte| u32::from(byte)).collect(),
        };
        letters.into_iter().take_while(|&letter| letter != 0).filter_map(char::from_u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an array as NumPy writes it.
    fn npy(header: &str, values: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), values].concat()
    }

    fn parse(bytes: &[u8]) -> Result<NpyArray, DataError> {
        read(&mut &bytes[..], Path::new("x.npy"), bytes.len() as u64)
    }

    fn header(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    }

    #[test]
    fn each_type_keeps_its_values() {
        let numbers = |values| NpyArray::Numbers(RawArray { path: "x.npy".into(), sizes: vec![2], values });
        let cases: [(&str, &[u8], NpyArray); 12] = [
            ("|u1", &[0, 255], numbers(RawValues::U8(vec![0, 255]))),
            ("|b1", &[0, 1], numbers(RawValues::U8(vec![0, 1]))),
            ("|i1", &[1, 255], numbers(RawValues::F32(vec![1.0, -1.0]))),
            ("<i2", &[0, 0x80, 1, 0], numbers(RawValues::F32(vec![-32768.0, 1.0]))),
            (">u2", &[0xff, 0xff, 0, 1], numbers(RawValues::F32(vec![65535.0, 1.0]))),
            ("<i4", &[255, 255, 255, 255, 7, 0, 0, 0], numbers(RawValues::F64(vec![-1.0, 7.0]))),
            ("<i8", &[[255; 8], [7, 0, 0, 0, 0, 0, 0, 0]].concat(), numbers(RawValues::F64(vec![-1.0, 7.0]))),
            ("<f4", &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], numbers(RawValues::F32(vec![1.0, -2.0]))),
            (
                ">f8",
                &[[0x3f, 0xf0, 0, 0, 0, 0, 0, 0], [0x40, 0, 0, 0, 0, 0, 0, 0]].concat(),
                numbers(RawValues::F64(vec![1.0, 2.0])),
            ),
            ("<u4", &[255, 255, 255, 255, 0, 0, 0, 0], numbers(RawValues::F64(vec![4294967295.0, 0.0]))),
            ("<U2", b"\xe9\0\0\0b\0\0\0c\0\0\0\0\0\0\0", NpyArray::Texts(vec!["éb".into(), "c".into()])),
            ("|S2", b"abc\0", NpyArray::Texts(vec!["ab".into(), "c".into()])),
        ];
        for (descr, bytes, expected) in cases {
            assert_eq!(parse(&npy(&header(descr, "(2,)"), bytes)).unwrap(), expected, "{descr}");
        }
    }

    #[test]
    fn the_order_of_columns_becomes_that_of_rows() {
        let read = |shape: &str, bytes: &[u8]| {
            let header = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': {shape}, }}");
            match parse(&npy(&header, bytes)).unwrap() {
                NpyArray::Numbers(RawArray { values: RawValues::U8(values), .. }) => values,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read("(4,)", &[1, 2, 3, 4]), [1, 2, 3, 4]);
        assert_eq!(read("(2, 3)", &[1, 4, 2, 5, 3, 6]), [1, 2, 3, 4, 5, 6]);
        // numpy.arange(12).reshape(2, 3, 2).flatten("F")
        assert_eq!(read("(2, 3, 2)", &[0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]), Vec::from_iter(0..12));
        assert_eq!(row_major(b"acbd", 1, &[2, 2]), b"abcd");
        assert_eq!(row_major(b"aAcCbBdD", 2, &[2, 2]), b"aAbBcCdD");
    }

    #[test]
    fn a_wrong_array_is_refused() {
        let structured = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }";
        let cases: [(Vec<u8>, &str); 9] = [
            (b"PK\x03\x04zip-file".to_vec(), "does not begin as a NumPy array"),
            (Vec::new(), "does not begin as a NumPy array"),
            (npy("{}", &[]), "its header is \"{}\""),
            (npy(&header("<f4", "(3,)"), &[0; 8]), "truncated"),
            (npy(&header("|u1", "(999999999999,)"), &[0; 8]), "truncated"),
            (npy(&header("|O", "(1,)"), &[0; 8]), "Python objects"),
            (npy(&header("<c8", "(1,)"), &[0; 8]), "its type is <c8"),
            (npy(structured, &[0; 4]), "its type is structured"),
            (npy(&header("|u1", "(1,)"), &[0; 2]), "save one array a file"),
        ];
        for (bytes, words) in cases {
            crate::testing::assert_says(&parse(&bytes).unwrap_err(), &["x.npy", words]);
        }
    }
}
