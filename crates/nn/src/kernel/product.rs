use super::{
    Masks, Rows, Tile, accumulate,
    mask::{WORD, whole_word},
    part, part_mut, row_parts,
};
use crate::{buffer::LANES, isa::Kernel};

/// Inner indices that a block of the right operand has: at 128 columns it is 32 KiB, an L1 cache.
const BLOCK: usize = WORD;

/// Columns from which a block is copied together stretch by stretch: rows so far apart, a power of two in most nets, share
/// few sets of the L1 cache.
const WIDE: usize = 256;

/// A block of the widest stretch.
pub(crate) const PACKED: usize = BLOCK * 128;

/// `sum += left · right`, shapes (rows, inner), (inner, columns) and (rows, columns); `columns` is a multiple of
/// [`LANES`] and the stride of `right` and of `sum`.
pub(crate) struct Product<'a> {
    pub(crate) left: Rows<'a>,
    /// Of `left`.
    pub(crate) masks: &'a Masks,
    pub(crate) right: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) sum: &'a mut [f32],
    /// Scratch for [`PACKED`] values.
    pub(crate) packed: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(mut self) {
        for block in 0..self.left.columns.div_ceil(BLOCK) {
            let mut column = 0;
            while column + 2 * W <= self.columns {
                self.stretch::<W, 2>(block, column);
                column += 2 * W;
            }
            while column + W <= self.columns {
                self.stretch::<W, 1>(block, column);
                column += W;
            }
            while column < self.columns {
                self.stretch::<LANES, 1>(block, column);
                column += LANES;
            }
        }
    }
}

impl Product<'_> {
    /// Adds what one block of inner indices gives to `C` times `W` columns from `column` on.
    #[inline(always)]
    fn stretch<const W: usize, const C: usize>(&mut self, block: usize, column: usize) {
        let Self { left, masks, columns: n, .. } = *self;
        let start = block * BLOCK;
        let rest = left.columns - start;
        let (mut right, mut stride) = (&self.right[start * n + column..], n as u32);
        if n >= WIDE {
            let packed = self.packed.as_chunks_mut::<W>().0.as_chunks_mut::<C>().0;
            for (out, row) in packed.iter_mut().zip(right.chunks(n)).take(if rest < BLOCK { rest } else { BLOCK }) {
                out.as_flattened_mut().copy_from_slice(&row[..C * W]);
            }
            (right, stride) = (&*self.packed, (C * W) as u32);
        }
        let mut sums = Sums { values: &mut *self.sum };
        let words = left.columns.div_ceil(WORD);
        let mask = |row: usize| masks.rows()[row * words + block];
        let (mut padding, mut padding_below) = ([0.0; WORD], [0.0; WORD]);
        for row in (0..left.rows).step_by(2) {
            let (first, at) = (whole_word(&left.row(row)[start..], &mut padding), row * n + column);
            if row + 1 == left.rows {
                sums.one::<W, C>(first, mask(row), right, stride, at);
                break;
            }
            let second = whole_word(&left.row(row + 1)[start..], &mut padding_below);
            let (a, b) = (mask(row), mask(row + 1));
            if masks.rows_together {
                for c in 0..C {
                    sums.two::<W>([first, second], a | b, &right[c * W..], stride, [at + c * W, at + n + c * W]);
                }
            } else {
                sums.one::<W, C>(first, a, right, stride, at);
                sums.one::<W, C>(second, b, right, stride, at + n);
            }
        }
    }
}

struct Sums<'a> {
    values: &'a mut [f32],
}

impl Sums<'_> {
    #[inline(always)]
    fn one<const W: usize, const C: usize>(
        &mut self,
        values: &[f32; WORD],
        mut mask: u64,
        right: &[f32],
        stride: u32,
        at: usize,
    ) {
        let mut tile: Tile<W, C, 1> = [std::array::from_fn(|c| *part(self.values, at + c * W))];
        while mask != 0 {
            let i = mask.trailing_zeros();
            mask &= mask - 1;
            accumulate(&mut tile, [values[i as usize % WORD]], row_parts(right, i, stride));
        }
        let [stretches] = tile;
        for (c, sum) in stretches.into_iter().enumerate() {
            *part_mut(self.values, at + c * W) = sum;
        }
    }

    #[inline(always)]
    fn two<const W: usize>(
        &mut self,
        values: [&[f32; WORD]; 2],
        mut mask: u64,
        right: &[f32],
        stride: u32,
        at: [usize; 2],
    ) {
        let mut tile: Tile<W, 1, 2> = at.map(|at| [*part(self.values, at)]);
        while mask != 0 {
            let i = mask.trailing_zeros();
            mask &= mask - 1;
            accumulate(&mut tile, values.map(|values| values[i as usize % WORD]), row_parts(right, i, stride));
        }
        for r in 0..2 {
            *part_mut(self.values, at[r]) = tile[r][0];
        }
    }
}
