use super::{Masks, Rows, accumulate, mask::WORD, part, part_mut};
use crate::{buffer::LANES, isa::Kernel};

/// Inner indices that a block of the right operand has: at 128 columns it is 16 KiB, half of the smallest L1 cache.
const BLOCK: usize = WORD;

/// `sum += left · right`, shapes (rows, inner), (inner, columns) and (rows, columns); `columns` is a multiple of
/// [`LANES`] and the stride of `right` and of `sum`.
pub(crate) struct Product<'a> {
    pub(crate) left: Rows<'a>,
    /// Of `left`.
    pub(crate) masks: &'a Masks,
    pub(crate) right: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) sum: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const ROWS: usize, const COLS: usize, const PANEL: usize>(mut self) {
        for block in 0..self.left.columns.div_ceil(BLOCK) {
            match self.masks.full() {
                true => {
                    let wide = self.dense::<ROWS, COLS>(block, 0);
                    self.dense::<ROWS, LANES>(block, wide);
                }
                false => {
                    let wide = self.sparse::<PANEL>(block, 0);
                    self.sparse::<LANES>(block, wide);
                }
            }
        }
    }
}

impl Product<'_> {
    /// Takes whole panels of columns from `first` on, and returns the first column that is left.
    #[inline(always)]
    fn sparse<const PANEL: usize>(&mut self, block: usize, first: usize) -> usize {
        let (n, k) = (self.columns, self.left.columns);
        let start = block * BLOCK;
        let mut column = first;
        while column + PANEL <= n {
            for row in 0..self.left.rows {
                let values = &self.left.row(row)[start..];
                let panel = part_mut::<PANEL>(self.sum, row * n + column);
                let mut sum = *panel;
                let mut mask = self.masks.row(row, k)[block];
                while mask != 0 {
                    let i = mask.trailing_zeros() as usize;
                    mask &= mask - 1;
                    accumulate(&mut sum, values[i], part(self.right, (start + i) * n + column));
                }
                *panel = sum;
            }
            column += PANEL;
        }
        column
    }

    /// As [`Product::sparse`], in tiles.
    #[inline(always)]
    fn dense<const ROWS: usize, const COLS: usize>(&mut self, block: usize, first: usize) -> usize {
        let mut column = first;
        while column + COLS <= self.columns {
            let mut row = 0;
            while row + ROWS <= self.left.rows {
                self.tile::<ROWS, COLS>(block, row, column);
                row += ROWS;
            }
            while row < self.left.rows {
                self.tile::<1, COLS>(block, row, column);
                row += 1;
            }
            column += COLS;
        }
        column
    }

    #[inline(always)]
    fn tile<const ROWS: usize, const COLS: usize>(&mut self, block: usize, row: usize, column: usize) {
        let n = self.columns;
        let start = block * BLOCK;
        let end = if start + BLOCK < self.left.columns { start + BLOCK } else { self.left.columns };
        let mut values = [&[][..]; ROWS];
        let mut sums = [[0.0; COLS]; ROWS];
        for r in 0..ROWS {
            values[r] = &self.left.row(row + r)[start..end];
            sums[r] = *part(self.sum, (row + r) * n + column);
        }
        for i in 0..end - start {
            let right = part(self.right, (start + i) * n + column);
            for r in 0..ROWS {
                accumulate(&mut sums[r], values[r][i], right);
            }
        }
        for r in 0..ROWS {
            *part_mut(self.sum, (row + r) * n + column) = sums[r];
        }
    }
}
