use aligned_vec::{AVec, ConstAlign};

use super::Rows;
use crate::{buffer::grow, isa::Kernel};

/// Rows, or columns, that one word of a mask covers.
pub(super) const WORD: usize = 64;

/// Where a matrix has values other than zero, as bits, along both directions.
#[derive(Debug, Clone)]
pub(crate) struct Masks {
    /// Word `w` of row `r` covers the columns from `WORD · w`; shape (rows, words).
    by_row: AVec<u64, ConstAlign<64>>,
    /// Word `w` of column `c` covers the rows from `WORD · w`; shape (words, columns).
    by_column: AVec<u64, ConstAlign<64>>,
    full: bool,
}

impl Masks {
    pub(crate) fn new() -> Self {
        Self { by_row: AVec::new(64), by_column: AVec::new(64), full: false }
    }

    /// Whether there is no zero at all.
    pub(crate) fn full(&self) -> bool {
        self.full
    }

    /// The words of each row, for as many rows as there are.
    #[inline(always)]
    pub(super) fn rows(&self, columns: usize) -> impl Iterator<Item = &[u64]> {
        self.by_row.chunks_exact(columns.div_ceil(WORD))
    }

    /// The words of all columns that cover the rows from `WORD · word`.
    #[inline(always)]
    pub(super) fn columns(&self, word: usize, columns: usize) -> &[u64] {
        &self.by_column[word * columns..(word + 1) * columns]
    }
}

/// Fills the masks of `matrix`.
pub(crate) struct Zeros<'a> {
    pub(crate) matrix: Rows<'a>,
    pub(crate) masks: &'a mut Masks,
}

impl Kernel for Zeros<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const PANEL: usize>(self) {
        let Rows { rows, columns, .. } = self.matrix;
        let words = columns.div_ceil(WORD);
        grow(&mut self.masks.by_row, rows * words);
        grow(&mut self.masks.by_column, rows.div_ceil(WORD) * columns);
        self.masks.by_column.fill(0);
        let mut seen = 0;
        for r in 0..rows {
            let row = self.matrix.row(r);
            let by_row = &mut self.masks.by_row[r * words..(r + 1) * words];
            for (word, values) in by_row.iter_mut().zip(row.chunks(WORD)) {
                *word = bits(values);
                seen += word.count_ones() as usize;
            }
            let (word, bit) = (r / WORD, 1u64 << (r % WORD));
            let by_column = &mut self.masks.by_column[word * columns..(word + 1) * columns];
            for (mask, &x) in by_column.iter_mut().zip(row) {
                *mask |= if x != 0.0 { bit } else { 0 };
            }
        }
        self.masks.full = rows > 0 && seen == rows * columns;
    }
}

/// The first values of a row as an array; where they are too few, in `padding`, whose other values do not matter.
#[inline(always)]
pub(super) fn whole_word<'a>(values: &'a [f32], padding: &'a mut [f32; WORD]) -> &'a [f32; WORD] {
    if values.len() < WORD {
        padding[..values.len()].copy_from_slice(values);
    }
    values.first_chunk().unwrap_or(padding)
}

/// Bit i is set where value i is not zero.
#[inline(always)]
fn bits(values: &[f32]) -> u64 {
    let mut padding = [0.0; WORD];
    let values = whole_word(values, &mut padding);
    let (low, high) = values.split_at(HALF);
    u64::from(half(low)) | u64::from(half(high)) << HALF
}

/// Eight lanes and a table of bits: a chain of shifts is not vectorised.
#[inline(always)]
fn half(values: &[f32]) -> u32 {
    let mut lanes = [0; 8];
    for (values, bits) in values.as_chunks::<8>().0.iter().zip(BITS.as_chunks::<8>().0) {
        for lane in 0..8 {
            lanes[lane] |= if values[lane] != 0.0 { bits[lane] } else { 0 };
        }
    }
    lanes.iter().fold(0, |all, lane| all | lane)
}

const HALF: usize = WORD / 2;

const BITS: [u32; HALF] = {
    let mut bits = [0; HALF];
    let mut i = 0;
    while i < HALF {
        bits[i] = 1 << i;
        i += 1;
    }
    bits
};
