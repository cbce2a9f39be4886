use aligned_vec::{AVec, ConstAlign};

/// `f32` values that start at a multiple of 64 bytes: one cache line, one AVX-512 register.
///
/// It is a slice to whoever uses it. Alignment is worth a quarter of an epoch (crates/nn/README.md).
pub type Buffer = AVec<f32, ConstAlign<64>>;

/// The columns of every intermediate matrix are padded with zeros to a multiple of this, so that kernels meet whole
/// vectors only.
pub(crate) const LANES: usize = 16;

/// A buffer of `len` zeros.
pub fn zeros(len: usize) -> Buffer {
    let mut buffer = Buffer::with_capacity(64, len);
    buffer.resize(len, 0.0);
    buffer
}

/// Makes `buffer` at least `len` long. It never shrinks, so that a training loop stops allocating after its first batch.
pub(crate) fn grow<T: Clone + Default>(buffer: &mut AVec<T, ConstAlign<64>>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, T::default());
    }
}

/// `columns`, padded.
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}
