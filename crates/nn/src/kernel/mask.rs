//! Masks: the places of a matrix that are not zero, as bits.

use aligned_vec::{AVec, ConstAlign};

use super::Matrix;
use crate::{
    buffer::{LANES, grow},
    isa::Kernel,
};

/// The number of rows or columns that one word of a mask covers.
pub(super) const WORD: usize = 64;

/// The places of a matrix that are not zero, as bits. [`RowMasks`] fills the masks of the rows, [`ColumnMasks`] those
/// of the columns.
#[derive(Debug, Clone)]
pub(crate) struct Masks {
    /// Shape (rows, words). Word `w` of a row covers the columns from `WORD · w` on.
    by_row: AVec<u64, ConstAlign<64>>,
    /// Shape (words, columns). Word `w` of a column covers the rows from `WORD · w` on.
    by_column: AVec<u64, ConstAlign<64>>,
    /// `true` if the matrix has four rows or more and at least three quarters of its values are not zero. A product is
    /// then faster without skipping, since four rows share each read of the right operand.
    ///
    /// The decision must not depend on the instruction set: infinity times a zero that is not skipped is NaN.
    pub(super) are_full: bool,
    /// `true` if a weight gradient is faster for pairs of neighbouring columns; [`pairs_pay`] decides.
    pub(super) columns_together: bool,
}

impl Masks {
    pub(crate) fn new() -> Self {
        Self { by_row: AVec::new(64), by_column: AVec::new(64), are_full: false, columns_together: false }
    }

    /// Shape (rows, words).
    #[inline(always)]
    pub(super) fn rows(&self) -> &[u64] {
        &self.by_row
    }

    /// Shape (words, columns).
    #[inline(always)]
    pub(super) fn columns(&self) -> &[u64] {
        &self.by_column
    }
}

/// Fills the masks of the rows of `matrix`, which a product needs.
pub(crate) struct RowMasks<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) masks: &'a mut Masks,
}

impl Kernel for RowMasks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Matrix { rows, columns, .. } = self.matrix;
        let words = columns.div_ceil(WORD);
        grow(&mut self.masks.by_row, rows * words);
        let by_row = &mut self.masks.by_row[..rows * words];
        for (r, by_row) in by_row.chunks_exact_mut(words).enumerate() {
            for (word, values) in by_row.iter_mut().zip(self.matrix.row(r).chunks(WORD)) {
                *word = bits::<W>(values);
            }
        }
        let count: usize = by_row.iter().map(|word| word.count_ones() as usize).sum();
        self.masks.are_full = rows >= 4 && 4 * count >= 3 * rows * columns;
    }
}

/// Fills the masks of the columns, which a weight gradient needs, from the masks of `rows` rows.
pub(crate) struct ColumnMasks<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) masks: &'a mut Masks,
}

impl Kernel for ColumnMasks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Self { rows, columns, masks } = self;
        // Each column has a word even if there are no rows.
        let (words, words_down) = (columns.div_ceil(WORD), rows.div_ceil(WORD).max(1));
        grow(&mut masks.by_column, words_down * columns);
        let (by_row, by_column) = (&masks.by_row[..rows * words], &mut masks.by_column[..words_down * columns]);
        for (i, by_column) in by_column.chunks_exact_mut(columns).enumerate() {
            let by_row = &by_row[i * WORD * words..];
            for (w, by_column) in by_column.chunks_mut(WORD).enumerate() {
                let mut square = [0; WORD];
                for (side, row) in square.iter_mut().zip(by_row.chunks_exact(words)) {
                    *side = row[w];
                }
                transpose(&mut square);
                by_column.copy_from_slice(&square[..by_column.len()]);
            }
        }
        masks.columns_together =
            pairs_pay(by_column.chunks_exact(columns).flat_map(|word| word.as_chunks().0.iter().map(|[a, b]| (a, b))));
    }
}

/// Returns `true` if a weight gradient is faster for `pairs` of columns, which skip only the zeros that both columns
/// have.
///
/// Both columns share each read of the right operand, so that a value costs four cycles instead of five. Neighbouring
/// pixels of images are mostly zero together. As for [`Masks::are_full`], the decision depends on the matrix alone.
#[inline(always)]
fn pairs_pay<'a>(pairs: impl Iterator<Item = (&'a u64, &'a u64)>) -> bool {
    let (mut each, mut either) = (0, 0);
    for (a, b) in pairs {
        each += u64::from(a.count_ones() + b.count_ones());
        either += u64::from((a | b).count_ones());
    }
    8 * either <= 5 * each
}

/// Swaps bit c of word r with bit r of word c (Warren, Hacker's Delight, §7-3).
#[inline(always)]
fn transpose(square: &mut [u64; WORD]) {
    swap::<32>(square, 0x0000_0000_ffff_ffff);
    swap::<16>(square, 0x0000_ffff_0000_ffff);
    swap::<8>(square, 0x00ff_00ff_00ff_00ff);
    swap::<4>(square, 0x0f0f_0f0f_0f0f_0f0f);
    swap::<2>(square, 0x3333_3333_3333_3333);
    swap::<1>(square, 0x5555_5555_5555_5555);
}

/// Swaps the upper right and the lower left part, `SIDE` bits wide, of each square of `2 · SIDE` bits.
#[inline(always)]
fn swap<const SIDE: usize>(square: &mut [u64; WORD], low: u64) {
    for pair in square.chunks_exact_mut(2 * SIDE) {
        let (above, below) = pair.split_at_mut(SIDE);
        for (a, b) in above.iter_mut().zip(below) {
            let differ = (*a >> SIDE ^ *b) & low;
            *a ^= differ << SIDE;
            *b ^= differ;
        }
    }
}

/// Returns the first values of a row as an array. A shorter row is copied into `padding`, whose other values are not
/// used.
#[inline(always)]
pub(super) fn whole_word<'a>(values: &'a [f32], padding: &'a mut [f32; WORD]) -> &'a [f32; WORD] {
    if values.len() < WORD {
        padding[..values.len()].copy_from_slice(values);
    }
    values.first_chunk().unwrap_or(padding)
}

/// Returns a word whose bit i is set if value i is not zero.
#[inline(always)]
fn bits<const W: usize>(values: &[f32]) -> u64 {
    let mut padding = [0.0; WORD];
    let values = whole_word(values, &mut padding);
    // AVX-512 compares into bits: LLVM compiles this plain loop to half as many instructions as the loop of `half`.
    if W == 4 * LANES {
        let mut word = 0;
        for (i, value) in values.iter().enumerate() {
            word |= u64::from(*value != 0.0) << i;
        }
        return word;
    }
    let (low, high) = values.split_at(HALF);
    u64::from(half(low)) | u64::from(half(high)) << HALF
}

/// Returns the bits of half a word, by eight lanes and a table, since LLVM does not vectorise a chain of shifts.
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
