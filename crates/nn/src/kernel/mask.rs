use aligned_vec::{AVec, ConstAlign};

use super::Rows;
use crate::{
    buffer::{LANES, grow},
    isa::Kernel,
};

/// Rows, or columns, that one word of a mask covers.
pub(super) const WORD: usize = 64;

/// Where a matrix has values other than zero, as bits: along its rows once [`RowMasks`] has run, along its columns once
/// [`ColumnMasks`] has.
#[derive(Debug, Clone)]
pub(crate) struct Masks {
    /// Word `w` of row `r` covers the columns from `WORD · w`; shape (rows, words).
    by_row: AVec<u64, ConstAlign<64>>,
    /// Word `w` of column `c` covers the rows from `WORD · w`; shape (words, columns).
    by_column: AVec<u64, ConstAlign<64>>,
    /// Whether there are four rows or more, and three quarters of all values are not zero, so that it pays to skip none: what is
    /// read of the right operand then serves four rows. Of the whole matrix, so that a kernel has one kind of tile; never by the instruction set, since
    /// an infinity times a zero that is not skipped is seen.
    pub(super) are_full: bool,
    /// Whether it pays to take neighbouring columns in pairs, as [`together`] says.
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

/// Fills the masks of the rows of `matrix`: those that a product needs.
pub(crate) struct RowMasks<'a> {
    pub(crate) matrix: Rows<'a>,
    pub(crate) masks: &'a mut Masks,
}

impl Kernel for RowMasks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Rows { rows, columns, .. } = self.matrix;
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

/// Fills the masks of the columns, those that a weight gradient needs, from the masks of `rows` rows.
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
        // Of no rows, too, each column has a word.
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
            together(by_column.chunks_exact(columns).flat_map(|word| word.as_chunks().0.iter().map(|[a, b]| (a, b))));
    }
}

/// Whether it pays to take columns in pairs, each with the other's zeros too, as those of images are: neighbouring pixels
/// are zero together. What is read of the right operand then serves both, and a value costs four cycles where it else
/// costs five. Of all `pairs` of a matrix, and of its values alone, as [`Masks::are_full`].
#[inline(always)]
fn together<'a>(pairs: impl Iterator<Item = (&'a u64, &'a u64)>) -> bool {
    let (mut each, mut either) = (0, 0);
    for (a, b) in pairs {
        each += u64::from(a.count_ones() + b.count_ones());
        either += u64::from((a | b).count_ones());
    }
    8 * either <= 5 * each
}

/// Bit c of word r becomes bit r of word c (Warren, Hacker's Delight, §7-3): halves of ever smaller squares are swapped.
#[inline(always)]
fn transpose(square: &mut [u64; WORD]) {
    swap::<32>(square, 0x0000_0000_ffff_ffff);
    swap::<16>(square, 0x0000_ffff_0000_ffff);
    swap::<8>(square, 0x00ff_00ff_00ff_00ff);
    swap::<4>(square, 0x0f0f_0f0f_0f0f_0f0f);
    swap::<2>(square, 0x3333_3333_3333_3333);
    swap::<1>(square, 0x5555_5555_5555_5555);
}

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

/// The first values of a row as an array; where they are too few, in `padding`, whose other values do not matter.
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
    // A comparison of AVX-512 returns bits, so LLVM compiles the plain loop to half the instructions of the loop below.
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
