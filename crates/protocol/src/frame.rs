//! The framing: four magic bytes, two lengths, a JSON header and a binary payload of named parts.

use std::{
    io::{self, Read, Write},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The first four bytes of every frame.
pub const MAGIC: [u8; 4] = *b"fdp1";

/// The longest JSON header that a writer writes, in bytes: a setup names all clients of a process.
pub const MAX_HEADER: u32 = 64 << 20;

/// The longest JSON header of a reply, in bytes.
pub const MAX_REPLY_HEADER: u32 = 1 << 20;

const PREAMBLE: usize = 4 + 4 + 8;

/// The limits that a reader checks before it allocates memory for a frame.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest header that is accepted, in bytes.
    pub header: u32,
    /// The largest payload that is accepted, in bytes.
    pub payload: u64,
}

impl Limits {
    /// Returns the limits of a request with so large a payload.
    pub fn request(payload: u64) -> Self {
        Self { header: MAX_HEADER, payload }
    }

    /// Returns the limits of a reply with so large a payload.
    pub fn reply(payload: u64) -> Self {
        Self { header: MAX_REPLY_HEADER, payload }
    }
}

/// The reason why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe ended between two frames.
    #[error("the pipe ended")]
    End,
    /// The pipe failed, or ended inside a frame.
    #[error("the pipe broke: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not a frame.
    #[error("the frame is broken: {0}")]
    Malformed(String),
}

/// The element type of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floats, little-endian.
    F32,
    /// Bytes.
    U8,
    /// 32-bit unsigned numbers, little-endian.
    U32,
}

/// A part of a frame that is to be written: its name and its elements.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// 32-bit floats.
    F32(&'a str, &'a [f32]),
    /// Bytes.
    U8(&'a str, &'a [u8]),
    /// 32-bit unsigned numbers.
    U32(&'a str, &'a [u32]),
}

/// The elements of a part that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum PartData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
    /// 32-bit unsigned numbers.
    U32(Vec<u32>),
}

/// The payload of a frame that was read: named parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts(Vec<(String, PartData)>);

#[derive(Debug, Serialize, Deserialize)]
struct FrameHeader<B> {
    body: B,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartHeader {
    name: String,
    dtype: Dtype,
    /// The number of elements.
    len: u64,
}

impl Dtype {
    fn size(self) -> u64 {
        match self {
            Dtype::F32 | Dtype::U32 => 4,
            Dtype::U8 => 1,
        }
    }
}

impl Part<'_> {
    fn header(&self) -> PartHeader {
        let (name, dtype, len) = match *self {
            Part::F32(name, values) => (name, Dtype::F32, values.len()),
            Part::U8(name, bytes) => (name, Dtype::U8, bytes.len()),
            Part::U32(name, values) => (name, Dtype::U32, values.len()),
        };
        PartHeader { name: name.into(), dtype, len: len as u64 }
    }

    /// Returns the bytes of the part as they are in a frame.
    pub fn bytes(&self) -> &[u8] {
        match *self {
            Part::F32(_, values) => bytemuck::cast_slice(values),
            Part::U8(_, bytes) => bytes,
            Part::U32(_, values) => bytemuck::cast_slice(values),
        }
    }
}

impl PartData {
    fn dtype(&self) -> Dtype {
        match self {
            PartData::F32(_) => Dtype::F32,
            PartData::U8(_) => Dtype::U8,
            PartData::U32(_) => Dtype::U32,
        }
    }

    /// Returns the part of this name with these elements.
    pub fn as_part<'a>(&'a self, name: &'a str) -> Part<'a> {
        match self {
            PartData::F32(values) => Part::F32(name, values),
            PartData::U8(bytes) => Part::U8(name, bytes),
            PartData::U32(values) => Part::U32(name, values),
        }
    }
}

impl Parts {
    /// Returns `true` if the frame has no part.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the part `name`, if it exists and holds 32-bit floats.
    pub fn take_f32(&mut self, name: &str) -> Option<Vec<f32>> {
        match self.take(name, Dtype::F32)? {
            PartData::F32(values) => Some(values),
            _ => None,
        }
    }

    /// Removes and returns the part `name`, if it exists and holds bytes.
    pub fn take_u8(&mut self, name: &str) -> Option<Vec<u8>> {
        match self.take(name, Dtype::U8)? {
            PartData::U8(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Removes and returns the part `name`, if it exists and holds 32-bit unsigned numbers.
    pub fn take_u32(&mut self, name: &str) -> Option<Vec<u32>> {
        match self.take(name, Dtype::U32)? {
            PartData::U32(values) => Some(values),
            _ => None,
        }
    }

    fn take(&mut self, name: &str, dtype: Dtype) -> Option<PartData> {
        let is_it = |(held, data): &(String, PartData)| held == name && data.dtype() == dtype;
        self.0.iter().position(is_it).map(|index| self.0.swap_remove(index).1)
    }

    /// Replaces the part `name`, or adds it.
    pub fn set(&mut self, name: &str, data: PartData) {
        self.0.retain(|(held, _)| held != name);
        self.0.push((name.to_owned(), data));
    }

    /// Returns the parts of 32-bit floats.
    pub fn into_vectors(self) -> impl Iterator<Item = (String, Vec<f32>)> {
        self.0.into_iter().filter_map(|(name, data)| match data {
            PartData::F32(values) => Some((name, values)),
            PartData::U8(_) | PartData::U32(_) => None,
        })
    }

    /// Returns the bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(name, data)| data.as_part(name).bytes().len() as u64).sum()
    }

    /// Iterates over names and elements, in the order of the frame.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PartData)> {
        self.0.iter().map(|(name, data)| (name.as_str(), data))
    }
}

/// Writes one frame: `body` as the JSON header, `parts` as the payload.
///
/// # Errors
/// An error of `writer`, or [`io::ErrorKind::InvalidInput`] for a header above [`MAX_HEADER`].
pub fn write(writer: &mut impl Write, body: &impl Serialize, parts: &[Part<'_>]) -> io::Result<()> {
    write_header(writer, body, parts)?;
    parts.iter().try_for_each(|part| writer.write_all(part.bytes()))?;
    writer.flush()
}

/// Writes a frame without its payload. The caller sends the bytes of `parts` itself.
///
/// # Errors
/// Returns the errors of [`write()`].
pub fn write_header(writer: &mut impl Write, body: &impl Serialize, parts: &[Part<'_>]) -> io::Result<()> {
    let header = FrameHeader { body, parts: parts.iter().map(Part::header).collect() };
    let json = serde_json::to_vec(&header)?;
    let length = u32::try_from(json.len()).ok().filter(|&n| n <= MAX_HEADER);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the header is above 64 MiB"))?;
    let payload: u64 = parts.iter().map(|part| part.bytes().len() as u64).sum();

    // A single write costs one system call instead of four.
    let mut start = Vec::with_capacity(PREAMBLE + json.len());
    start.extend(MAGIC);
    start.extend(length.to_le_bytes());
    start.extend(payload.to_le_bytes());
    start.extend(json);
    writer.write_all(&start)
}

/// Returns the length in bytes of the header of a frame with this body and no parts. The limit is [`MAX_HEADER`].
///
/// # Errors
/// The body cannot be written as JSON; a path that is not UTF-8, for example.
pub fn header_length(body: &impl Serialize) -> io::Result<usize> {
    Ok(serde_json::to_vec(&FrameHeader { body, parts: Vec::new() })?.len())
}

/// Buffers of parts that are no longer needed, for reuse: mapping fresh memory takes longer than filling it.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Vec<Vec<f32>>>);

impl Spare {
    /// Stores a buffer for reuse.
    pub fn keep(&self, buffer: Vec<f32>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// Returns the number of buffers.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<f32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }
}

/// Reads one frame.
///
/// # Errors
/// [`FrameError::End`] if the pipe ended before the first byte; another variant for any other failure, such as a
/// payload above `limits`.
pub fn read<B: DeserializeOwned>(reader: &mut impl Read, limits: Limits) -> Result<(B, Parts), FrameError> {
    begin(reader, limits)?.finish(reader, &Spare::default())
}

/// A frame whose header was read and whose payload was not.
#[derive(Debug)]
pub struct FrameStart<B>(FrameHeader<B>);

/// Reads the header of a frame, but not its payload.
///
/// # Errors
/// Returns the errors of [`read`].
pub fn begin<B: DeserializeOwned>(reader: &mut impl Read, limits: Limits) -> Result<FrameStart<B>, FrameError> {
    let (header_length, payload) = read_preamble(reader)?;
    if header_length > limits.header {
        let (given, most) = (bytes(header_length.into()), limits.header);
        return malformed(format!("a header of {given}, at most {most} are allowed"));
    }
    if payload > limits.payload {
        return malformed(format!("a payload of {}, at most {} were asked for", bytes(payload), limits.payload));
    }
    let mut json = vec![0; header_length as usize];
    reader.read_exact(&mut json)?;
    let header: FrameHeader<B> =
        serde_json::from_slice(&json).or_else(|error| malformed(format!("its header is not understood: {error}")))?;
    check_lengths(&header.parts, payload)?;
    Ok(FrameStart(header))
}

impl<B> FrameStart<B> {
    /// Returns `true` if the frame has the part `name`.
    pub fn has_part(&self, name: &str) -> bool {
        self.0.parts.iter().any(|part| part.name == name)
    }

    /// Returns the bytes of the payload.
    pub fn payload(&self) -> u64 {
        self.0.parts.iter().map(|part| part.dtype.size() * part.len).sum()
    }

    /// Reads the payload. Parts of 32-bit floats are stored in buffers from `spare` while it has any.
    ///
    /// # Errors
    /// Returns the errors of [`read`].
    pub fn finish(self, reader: &mut impl Read, spare: &Spare) -> Result<(B, Parts), FrameError> {
        let FrameHeader { body, parts } = self.0;
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

/// Returns a number of bytes in a sentence.
fn bytes(number: u64) -> String {
    format!("{number} byte{}", if number == 1 { "" } else { "s" })
}

/// Checks that the parts fill the payload exactly. Otherwise the start of the next frame would be unknown.
fn check_lengths(parts: &[PartHeader], payload: u64) -> Result<(), FrameError> {
    let sizes = parts.iter().map(|part| part.len.checked_mul(part.dtype.size()));
    match sizes.sum::<Option<u64>>() {
        Some(sum) if sum == payload => Ok(()),
        _ => malformed(format!("its parts do not add up to its payload of {}", bytes(payload))),
    }
}

fn read_part(reader: &mut impl Read, part: PartHeader, spare: &Spare) -> io::Result<(String, PartData)> {
    let data = match part.dtype {
        Dtype::F32 => PartData::F32(read_values(reader, part.len, spare.take())?),
        Dtype::U8 => PartData::U8(read_values(reader, part.len, Vec::new())?),
        Dtype::U32 => PartData::U32(read_values(reader, part.len, Vec::new())?),
    };
    Ok((part.name, data))
}

/// Reads `len` values into `buffer`, which grows as the values arrive. A header that claims too much thus takes no
/// memory.
fn read_values<T: bytemuck::Pod>(reader: &mut impl Read, len: u64, mut buffer: Vec<T>) -> io::Result<Vec<T>> {
    /// The most bytes that are allocated ahead of reading them.
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
