//! Maps a partition file into memory, for the client that reads its examples.
#![allow(unsafe_code, reason = "mapping a file is unsafe")]

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::{checksum, counted::counted, error::DataError};

/// The pixels as they are in the file, row-major: (n, shape…).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pixels<'a> {
    /// Bytes from 0 to 255. The model scales them.
    U8(&'a [u8]),
    /// Values that the model uses as they are.
    F32(&'a [f32]),
}

/// The targets as they are in the file, one for each example.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PartitionTargets<'a> {
    /// Labels.
    Classes(&'a [u32]),
    /// Real numbers.
    Real(&'a [f32]),
}

/// A partition file that is mapped into memory, so that examples are read from the page cache without a copy.
///
/// The file is any safetensors file with `examples` U8 or F32 `[n, shape…]` and either `labels` U32 `[n]` or
/// `targets` F32 `[n]`. A tensor that is not aligned is copied; the files of this crate are aligned. The file must not
/// change while it is mapped.
#[derive(Debug)]
pub struct Partition {
    map: Mmap,
    shape: Vec<usize>,
    pixels: MappedValues<f32>,
    is_float: bool,
    targets: MappedTargets,
}

/// The values of the tensor `labels` or `targets`.
#[derive(Debug)]
enum MappedTargets {
    Classes(MappedValues<u32>),
    Real(MappedValues<f32>),
}

/// The values of a tensor.
#[derive(Debug)]
enum MappedValues<T> {
    Mapped(Range<usize>),
    Copied(Vec<T>),
}

impl Partition {
    /// Maps the file at `path` and checks it.
    ///
    /// # Errors
    /// The file cannot be read, is not a safetensors file, or lacks a tensor; or a tensor has a wrong type or size.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Read { path: path.to_owned(), source };
        // Opening a pipe would wait for a writer.
        if !path.metadata().map_err(unreadable)?.is_file() {
            return Err(DataError::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the mapping is only read. Partition files appear by rename and are never changed in place. The type's
        // documentation demands the same of the caller's own files.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Self::check(map).map_err(|reason| DataError::NotAPartition { path: path.to_owned(), reason })
    }

    fn check(map: Mmap) -> Result<Self, String> {
        let (header, tensors) = SafeTensors::read_metadata(&map).map_err(|error| error.to_string())?;
        let examples = find(&tensors, "examples")?;
        let (name, targets) = find_targets(&tensors)?;
        let is_float = match examples.dtype {
            Dtype::U8 => false,
            Dtype::F32 => true,
            other => return Err(format!("`examples` has the type {other}, not U8 or F32")),
        };
        let (Some((&n, shape)), [target_count]) = (examples.shape.split_first(), targets.shape.as_slice()) else {
            return Err(format!(
                "`examples` has the shape {:?} and `{name}` {:?}, not [n, …] and [n]",
                examples.shape, targets.shape
            ));
        };
        if n != *target_count {
            let noun = name.trim_end_matches('s');
            return Err(format!("it has {} but {}", counted(n, "example"), counted(*target_count, noun)));
        }
        let place = |info: &TensorInfo| 8 + header + info.data_offsets.0..8 + header + info.data_offsets.1;
        let pixels = if is_float { values(&map, place(examples)) } else { MappedValues::Mapped(place(examples)) };
        let targets = match targets.dtype {
            Dtype::U32 => MappedTargets::Classes(values(&map, place(targets))),
            _ => MappedTargets::Real(values(&map, place(targets))),
        };
        Ok(Self { shape: shape.to_vec(), pixels, is_float, targets, map })
    }

    /// Returns the number of examples.
    pub fn len(&self) -> usize {
        match self.targets() {
            PartitionTargets::Classes(labels) => labels.len(),
            PartitionTargets::Real(values) => values.len(),
        }
    }

    /// Returns `true` if there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the shape of one example, such as `[28, 28]`.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the examples: (n, shape…).
    pub fn pixels(&self) -> Pixels<'_> {
        match &self.pixels {
            MappedValues::Mapped(place) if !self.is_float => Pixels::U8(&self.map[place.clone()]),
            values => Pixels::F32(self.slice(values)),
        }
    }

    /// Returns the targets: (n).
    pub fn targets(&self) -> PartitionTargets<'_> {
        match &self.targets {
            MappedTargets::Classes(labels) => PartitionTargets::Classes(self.slice(labels)),
            MappedTargets::Real(values) => PartitionTargets::Real(self.slice(values)),
        }
    }

    /// Returns the labels: (n), or none if the targets are real numbers.
    pub fn labels(&self) -> &[u32] {
        match self.targets() {
            PartitionTargets::Classes(labels) => labels,
            PartitionTargets::Real(_) => &[],
        }
    }

    /// Returns the SHA-256 of the targets followed by the examples, little-endian, in hexadecimal. The rest of the file
    /// does not count.
    pub fn sha256(&self) -> String {
        let examples = match self.pixels() {
            Pixels::U8(pixels) => pixels,
            Pixels::F32(values) => bytemuck::cast_slice(values),
        };
        let targets = match self.targets() {
            PartitionTargets::Classes(labels) => bytemuck::cast_slice(labels),
            PartitionTargets::Real(values) => bytemuck::cast_slice(values),
        };
        checksum::pieces_sha256([targets, examples])
    }

    /// Checks that [`Partition::sha256`] is `expected`.
    ///
    /// # Errors
    /// The error names the file (`path`) and both hashes.
    pub fn check_sha256(&self, expected: &str, path: &Path) -> Result<(), DataError> {
        let found = self.sha256();
        if found == expected {
            return Ok(());
        }
        Err(DataError::Content { path: path.to_owned(), found, expected: expected.to_owned() })
    }

    /// Checks that every label is below `classes`.
    ///
    /// # Errors
    /// The error names the file (`path`), and the row and the value of the first label that is too large.
    pub fn check_labels(&self, classes: u32, path: &Path) -> Result<(), DataError> {
        match self.labels().iter().position(|&label| label >= classes) {
            None => Ok(()),
            Some(row) => Err(DataError::Label { path: path.to_owned(), row, label: self.labels()[row], classes }),
        }
    }

    fn slice<'a, T: bytemuck::Pod>(&'a self, values: &'a MappedValues<T>) -> &'a [T] {
        match values {
            MappedValues::Mapped(place) => bytemuck::cast_slice(&self.map[place.clone()]),
            MappedValues::Copied(copy) => copy,
        }
    }
}

fn find<'a>(tensors: &'a Metadata, name: &str) -> Result<&'a TensorInfo, String> {
    tensors.info(name).ok_or_else(|| format!("it has no tensor `{name}`"))
}

/// Returns the tensor of the targets with its name.
fn find_targets(tensors: &Metadata) -> Result<(&'static str, &TensorInfo), String> {
    match (tensors.info("labels"), tensors.info("targets")) {
        (Some(labels), None) if labels.dtype == Dtype::U32 => Ok(("labels", labels)),
        (None, Some(targets)) if targets.dtype == Dtype::F32 => Ok(("targets", targets)),
        (Some(labels), None) => Err(format!("`labels` has the type {}, not U32", labels.dtype)),
        (None, Some(targets)) => Err(format!("`targets` has the type {}, not F32", targets.dtype)),
        (None, None) => Err("it has no tensor `labels` and none `targets`".to_owned()),
        (Some(_), Some(_)) => Err("it has both `labels` and `targets`, of which one must go".to_owned()),
    }
}

/// Refers to the mapping if it is aligned and the machine is little-endian; otherwise copies.
fn values<T: bytemuck::Pod + FromLittleEndian>(map: &Mmap, place: Range<usize>) -> MappedValues<T> {
    let bytes = &map[place.clone()];
    if cfg!(target_endian = "little") && bytemuck::try_cast_slice::<u8, T>(bytes).is_ok() {
        return MappedValues::Mapped(place);
    }
    MappedValues::Copied(bytes.chunks_exact(4).map(|b| T::from_little_endian([b[0], b[1], b[2], b[3]])).collect())
}

trait FromLittleEndian {
    fn from_little_endian(bytes: [u8; 4]) -> Self;
}

impl FromLittleEndian for f32 {
    fn from_little_endian(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

impl FromLittleEndian for u32 {
    fn from_little_endian(bytes: [u8; 4]) -> Self {
        Self::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests;
