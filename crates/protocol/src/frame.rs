//! One frame: magic, lengths, a JSON header, a binary payload in named parts.

use std::{
    io::{self, Read, Write},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"fdp1";

/// The longest JSON header, in bytes.
pub const MAX_HEADER: u32 = 1 << 20;

const PREAMBLE: usize = 4 + 4 + 8;

/// What a reader is willing to take, checked before anything is allocated.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of payload.
    pub payload: u64,
}

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe ended between two frames.
    #[error("the pipe ended")]
    End,
    /// The pipe broke, or ended within a frame.
    #[error("the pipe broke: {0}")]
    Io(#[from] io::Error),
    /// The bytes are no frame.
    #[error("the frame is broken: {0}")]
    Malformed(String),
}

/// The type of a part's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats, little-endian.
    F32,
    /// Bytes.
    U8,
}

/// A part to be written, borrowed.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// 32-bit floats.
    F32(&'a str, &'a [f32]),
    /// Bytes.
    U8(&'a str, &'a [u8]),
}

/// A part that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
}

/// The payload of a frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts(Vec<(String, Data)>);

#[derive(Debug, Serialize, Deserialize)]
struct Header<B> {
    body: B,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartHeader {
    name: String,
    dtype: Dtype,
    /// In elements.
    len: u64,
}

impl Dtype {
    fn size(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::U8 => 1,
        }
    }
}

impl Part<'_> {
    fn header(&self) -> PartHeader {
        let (name, dtype, len) = match *self {
            Part::F32(name, values) => (name, Dtype::F32, values.len()),
            Part::U8(name, bytes) => (name, Dtype::U8, bytes.len()),
        };
        PartHeader { name: name.into(), dtype, len: len as u64 }
    }

    /// Its contents, as they are in a frame.
    pub fn bytes(&self) -> &[u8] {
        match *self {
            Part::F32(_, values) => bytemuck::cast_slice(values),
            Part::U8(_, bytes) => bytes,
        }
    }
}

impl Parts {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The part `name`, if it is there and holds 32-bit floats.
    pub fn take_f32(&mut self, name: &str) -> Option<Vec<f32>> {
        let index = self.0.iter().position(|(n, data)| n == name && matches!(data, Data::F32(_)))?;
        match self.0.swap_remove(index).1 {
            Data::F32(values) => Some(values),
            Data::U8(_) => None,
        }
    }

    /// The part `name`, if it is there and holds bytes.
    pub fn take_u8(&mut self, name: &str) -> Option<Vec<u8>> {
        let index = self.0.iter().position(|(n, data)| n == name && matches!(data, Data::U8(_)))?;
        match self.0.swap_remove(index).1 {
            Data::U8(bytes) => Some(bytes),
            Data::F32(_) => None,
        }
    }

    /// Names and contents, in the order of the frame.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Data)> {
        self.0.iter().map(|(name, data)| (name.as_str(), data))
    }
}

/// Writes one frame: `body` as the JSON header, `parts` as the payload.
///
/// # Errors
/// Those of `writer`, and [`io::ErrorKind::InvalidInput`] for a header above [`MAX_HEADER`].
pub fn write(writer: &mut impl Write, body: &impl Serialize, parts: &[Part<'_>]) -> io::Result<()> {
    write_header(writer, body, parts)?;
    parts.iter().try_for_each(|part| writer.write_all(part.bytes()))?;
    writer.flush()
}

/// Writes a frame as far as its payload, for a caller that has its own way to send the bytes of `parts`.
///
/// # Errors
/// As for [`write`].
pub fn write_header(writer: &mut impl Write, body: &impl Serialize, parts: &[Part<'_>]) -> io::Result<()> {
    let header = Header { body, parts: parts.iter().map(Part::header).collect() };
    let json = serde_json::to_vec(&header)?;
    let length = u32::try_from(json.len()).ok().filter(|&n| n <= MAX_HEADER);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the header is above 1 MiB"))?;
    let payload: u64 = parts.iter().map(|part| part.bytes().len() as u64).sum();

    // One write for the small things: a pipe delivers it whole.
    let mut start = Vec::with_capacity(PREAMBLE + json.len());
    start.extend(MAGIC);
    start.extend(length.to_le_bytes());
    start.extend(payload.to_le_bytes());
    start.extend(json);
    writer.write_all(&start)
}

/// Returns the length of the header of a frame with this body and no parts, in bytes; [`MAX_HEADER`] is the most that can be
/// sent.
///
/// # Errors
/// A body that JSON cannot hold, such as a path that is not UTF-8.
pub fn header_length(body: &impl Serialize) -> io::Result<usize> {
    Ok(serde_json::to_vec(&Header { body, parts: Vec::new() })?.len())
}

/// Buffers of parts that were read and are done with, to be filled again: to map a fresh megabyte takes longer than to
/// fill it.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Vec<Vec<f32>>>);

impl Spare {
    /// Takes a buffer back.
    pub fn keep(&self, buffer: Vec<f32>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    fn take(&self) -> Vec<f32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

/// Reads one frame.
///
/// # Errors
/// [`FrameError::End`] where the pipe ended before the first byte; the other variants for everything else, a payload
/// above `limits` among it.
pub fn read<B: DeserializeOwned>(reader: &mut impl Read, limits: Limits) -> Result<(B, Parts), FrameError> {
    begin(reader, limits)?.finish(reader, &Spare::default())
}

/// A frame whose header was read.
#[derive(Debug)]
pub struct Begun<B>(Header<B>);

/// Reads a frame as far as its payload.
///
/// # Errors
/// As for [`read`].
pub fn begin<B: DeserializeOwned>(reader: &mut impl Read, limits: Limits) -> Result<Begun<B>, FrameError> {
    let (header_length, payload) = read_preamble(reader)?;
    if header_length > MAX_HEADER {
        return malformed(format!("a header of {}, at most {MAX_HEADER} are allowed", bytes(header_length.into())));
    }
    if payload > limits.payload {
        return malformed(format!("a payload of {}, at most {} were asked for", bytes(payload), limits.payload));
    }
    let mut json = vec![0; header_length as usize];
    reader.read_exact(&mut json)?;
    let header: Header<B> =
        serde_json::from_slice(&json).or_else(|error| malformed(format!("its header is not understood: {error}")))?;
    check_lengths(&header.parts, payload)?;
    Ok(Begun(header))
}

impl<B> Begun<B> {
    /// Whether it has a payload.
    pub fn has_parts(&self) -> bool {
        !self.0.parts.is_empty()
    }

    /// Reads the payload, with 32-bit floats in buffers from `spare`, where it has some.
    ///
    /// # Errors
    /// As for [`read`].
    pub fn finish(self, reader: &mut impl Read, spare: &Spare) -> Result<(B, Parts), FrameError> {
        let Header { body, parts } = self.0;
        let parts = parts.into_iter().map(|part| read_part(reader, part, spare)).collect::<io::Result<_>>()?;
        Ok((body, Parts(parts)))
    }
}

fn read_preamble(reader: &mut impl Read) -> Result<(u32, u64), FrameError> {
    let mut bytes = [0; PREAMBLE];
    let mut filled = 0;
    while filled < PREAMBLE {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) if filled == 0 => return Err(FrameError::End),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let [m0, m1, m2, m3, h0, h1, h2, h3, payload @ ..] = bytes;
    let magic = [m0, m1, m2, m3];
    if magic != MAGIC {
        return malformed(format!("it starts with {:?} instead of {:?}", magic.escape_ascii().to_string(), "fdp1"));
    }
    Ok((u32::from_le_bytes([h0, h1, h2, h3]), u64::from_le_bytes(payload)))
}

/// A number of bytes in a sentence.
fn bytes(number: u64) -> String {
    format!("{number} byte{}", if number == 1 { "" } else { "s" })
}

/// The parts must fill the payload exactly, so that the next frame is found whatever this one says.
fn check_lengths(parts: &[PartHeader], payload: u64) -> Result<(), FrameError> {
    let sizes = parts.iter().map(|part| part.len.checked_mul(part.dtype.size()));
    match sizes.sum::<Option<u64>>() {
        Some(sum) if sum == payload => Ok(()),
        _ => malformed(format!("its parts do not add up to its payload of {}", bytes(payload))),
    }
}

fn read_part(reader: &mut impl Read, part: PartHeader, spare: &Spare) -> io::Result<(String, Data)> {
    let data = match part.dtype {
        Dtype::F32 => Data::F32(read_values(reader, part.len, spare.take())?),
        Dtype::U8 => Data::U8(read_values(reader, part.len, Vec::new())?),
    };
    Ok((part.name, data))
}

/// Reads `len` values into `buffer`, which grows as they come: a length that is only claimed takes no memory.
fn read_values<T: bytemuck::Pod>(reader: &mut impl Read, len: u64, mut buffer: Vec<T>) -> io::Result<Vec<T>> {
    /// Bytes that a buffer grows by, at most, before they are read.
    const STEP: usize = 16 << 20;
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    buffer.truncate(len);
    let mut filled = 0;
    while filled < len {
        let end = len.min(buffer.len().max(filled + STEP / size_of::<T>()));
        buffer.resize(end, T::zeroed());
        reader.read_exact(bytemuck::cast_slice_mut(&mut buffer[filled..end]))?;
        filled = end;
    }
    Ok(buffer)
}

fn malformed<T>(why: String) -> Result<T, FrameError> {
    Err(FrameError::Malformed(why))
}
