//! Aligned buffers, and the padding of matrix rows.

use aligned_vec::{AVec, ConstAlign};

/// A vector of `f32` that starts at a multiple of 64 bytes, the size of a cache line and of an AVX-512 register.
///
/// It dereferences to a slice. Unaligned weights make an epoch slower by a quarter.
///
/// ```
/// let mut weights = fedpipe_nn::zeros(3);
/// weights[1] = 0.5;
/// assert_eq!(weights[..], [0.0, 0.5, 0.0]);
/// assert_eq!(weights.as_ptr() as usize % 64, 0);
/// ```
pub type Buffer = AVec<f32, ConstAlign<64>>;

/// The unit of padding: rows of intermediate matrices are padded with zeros to a multiple of it, so that kernels handle
/// whole vectors alone.
pub(crate) const LANES: usize = 16;

/// Returns a buffer of `len` zeros.
pub fn zeros(len: usize) -> Buffer {
    let mut buffer = Buffer::with_capacity(64, len);
    buffer.resize(len, 0.0);
    buffer
}

/// Makes `buffer` at least `len` long. A buffer never shrinks, so that training allocates for its largest batch alone.
pub(crate) fn grow<T: Clone + Default>(buffer: &mut AVec<T, ConstAlign<64>>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// Returns `columns` rounded up to a multiple of [`LANES`].
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}
