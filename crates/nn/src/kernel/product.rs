//! The product of a layer's inputs, or of its gradient, with a matrix of weights.

use super::{
    Masks, Matrix, Tile, accumulate, is_narrow,
    mask::{WORD, whole_word},
    part, part_mut, row_parts,
};
use crate::{
    buffer::LANES,
    isa::{Isa, Kernel},
};

/// The number of inner indices in a block of the right operand. A block of 128 columns has 32 KiB, the size of an L1
/// cache.
const BLOCK: usize = WORD;

/// The number of columns from which on each stretch of a block is copied before its use. Rows that are so far apart,
/// often by a power of two, compete for few sets of the L1 cache.
const WIDE: usize = 256;

/// The number of values in a block of the widest stretch.
pub(crate) const PACKED: usize = BLOCK * 128;

/// Adds `left · right` to `sum`; shapes (rows, inner), (inner, columns) and (rows, columns).
///
/// `columns` is a multiple of [`LANES`], and the stride of `right` and `sum`.
pub(crate) struct Product<'a> {
    pub(crate) left: Matrix<'a>,
    /// The masks of `left`, which a narrow product does not use.
    pub(crate) masks: &'a Masks,
    pub(crate) right: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) sum: &'a mut [f32],
    /// Scratch for [`PACKED`] values.
    pub(crate) packed: &'a mut [f32],
}

impl Product<'_> {
    /// Runs the dense or the skipping loop. Each is a function of its own, since LLVM keeps no tile of a mixture in
    /// registers.
    pub(crate) fn run(self, isa: Isa) {
        if is_narrow(self.columns) || self.masks.are_full { isa.run(Dense(self)) } else { isa.run(Skipping(self)) }
    }

    /// Returns the number of inner indices in block `block`.
    #[inline(always)]
    fn block_len(&self, block: usize) -> usize {
        let rest = self.left.columns - block * BLOCK;
        if rest < BLOCK { rest } else { BLOCK }
    }
}

/// Returns the part of `right`, which starts at a block, from `column` on, and the stride of that part. Wide rows are
/// copied to `packed`.
#[inline(always)]
fn stretch_of<'a, const W: usize, const C: usize>(
    right: &'a [f32],
    columns: usize,
    column: usize,
    len: usize,
    packed: &'a mut [f32],
) -> (&'a [f32], u32) {
    let right = &right[column..];
    if columns < WIDE {
        return (right, columns as u32);
    }
    let rows = packed.as_chunks_mut::<W>().0.as_chunks_mut::<C>().0;
    for (out, row) in rows.iter_mut().zip(right.chunks(columns)).take(len) {
        out.as_flattened_mut().copy_from_slice(&row[..C * W]);
    }
    (packed, (C * W) as u32)
}

/// The loop that skips zeros by the mask of each row. A tile is one row high and up to eight registers wide.
struct Skipping<'a>(Product<'a>);

impl Kernel for Skipping<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(mut self) {
        for block in 0..self.0.left.columns.div_ceil(BLOCK) {
            let mut column = 0;
            while column + 2 * W <= self.0.columns {
                self.stretch::<W, 2>(block, column);
                column += 2 * W;
            }
            while column + W <= self.0.columns {
                self.stretch::<W, 1>(block, column);
                column += W;
            }
            while column < self.0.columns {
                self.stretch::<LANES, 1>(block, column);
                column += LANES;
            }
        }
    }
}

impl Skipping<'_> {
    /// Adds the products of one block of inner indices to `C` times `W` columns from `column` on.
    #[inline(always)]
    fn stretch<const W: usize, const C: usize>(&mut self, block: usize, column: usize) {
        let (start, len) = (block * BLOCK, self.0.block_len(block));
        let Product { left, masks, right, columns: n, sum, packed } = &mut self.0;
        let (left, n, sum) = (*left, *n, &mut **sum);
        let (right, stride) = stretch_of::<W, C>(&right[start * n..], n, column, len, packed);
        let words = left.columns.div_ceil(WORD);
        let mut padding = [0.0; WORD];
        for row in 0..left.rows {
            let values = whole_word(&left.row(row)[start..], &mut padding);
            let at = row * n + column;
            let mut tile: Tile<W, C, 1> = [std::array::from_fn(|c| *part(sum, at + c * W))];
            let mut mask = masks.rows()[row * words + block];
            while mask != 0 {
                let i = mask.trailing_zeros();
                mask &= mask - 1;
                accumulate(&mut tile, [values[i as usize % WORD]], row_parts(right, i, stride));
            }
            let [stretches] = tile;
            for (c, values) in stretches.into_iter().enumerate() {
                *part_mut(sum, at + c * W) = values;
            }
        }
    }
}

/// The loop that skips nothing. A tile is four rows high and up to four registers wide with AVX-512, two without.
struct Dense<'a>(Product<'a>);

impl Kernel for Dense<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(mut self) {
        for block in 0..self.0.left.columns.div_ceil(BLOCK) {
            let mut column = 0;
            // AVX-512 has 32 registers of sixteen lanes; a tile of four rows uses sixteen or eight of them.
            while W == 4 * LANES && column + W <= self.0.columns {
                self.stretch::<W>(block, column);
                column += W;
            }
            while W == 4 * LANES && column + 2 * LANES <= self.0.columns {
                self.stretch::<{ 2 * LANES }>(block, column);
                column += 2 * LANES;
            }
            while column < self.0.columns {
                self.stretch::<LANES>(block, column);
                column += LANES;
            }
        }
    }
}

impl Dense<'_> {
    /// Adds the products of one block of inner indices to `W` columns from `column` on.
    #[inline(always)]
    fn stretch<const W: usize>(&mut self, block: usize, column: usize) {
        let (start, len) = (block * BLOCK, self.0.block_len(block));
        let Product { left, right, columns: n, sum, packed, .. } = &mut self.0;
        let (n, sum) = (*n, &mut **sum);
        let (right, stride) = stretch_of::<W, 1>(&right[start * n..], n, column, len, packed);
        let values = |row: usize| left.row(row)[start..start + len].iter();
        let mut row = 0;
        while row + 4 <= left.rows {
            // `map` of an array is not always inlined, and would then be compiled without the instruction set.
            let (a, b, c, d) = (values(row), values(row + 1), values(row + 2), values(row + 3));
            let xs = a.zip(b).zip(c).zip(d).map(|(((a, b), c), d)| [*a, *b, *c, *d]);
            add_rows::<W, 4>(xs, right, stride, &mut sum[row * n + column..], n);
            row += 4;
        }
        while row < left.rows {
            let xs = values(row).map(|x| [*x]);
            add_rows::<W, 1>(xs, right, stride, &mut sum[row * n + column..], n);
            row += 1;
        }
    }
}

/// Adds the products of `xs` (one value of each row) and the rows of `right` to a stretch of `R` rows of `sum`.
#[inline(always)]
fn add_rows<const W: usize, const R: usize>(
    xs: impl Iterator<Item = [f32; R]>,
    right: &[f32],
    stride: u32,
    sum: &mut [f32],
    columns: usize,
) {
    let mut tile: Tile<W, 1, R> = std::array::from_fn(|r| [*part(sum, r * columns)]);
    for (xs, i) in xs.zip(0..) {
        accumulate(&mut tile, xs, row_parts(right, i, stride));
    }
    for (r, [values]) in tile.into_iter().enumerate() {
        *part_mut(sum, r * columns) = values;
    }
}
