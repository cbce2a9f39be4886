use super::{
    Masks, Rows, accumulate,
    mask::{WORD, whole_word},
    part_mut, row_part,
};
use crate::{buffer::LANES, isa::Kernel};

/// Inner indices that a block of the right operand has: at 128 columns it is 32 KiB, an L1 cache.
const BLOCK: usize = WORD;

/// Columns from which a block is copied together panel by panel: rows so far apart, a power of two in most nets, share
/// few sets of the L1 cache.
const WIDE: usize = 256;

/// A block of the widest panel.
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
    fn run<const PANEL: usize>(mut self) {
        for block in 0..self.left.columns.div_ceil(BLOCK) {
            let wide = self.panels::<PANEL>(block, 0);
            self.panels::<LANES>(block, wide);
        }
    }
}

impl Product<'_> {
    /// Takes whole panels of columns from `first` on, and returns the first column that is left.
    #[inline(always)]
    fn panels<const PANEL: usize>(&mut self, block: usize, first: usize) -> usize {
        let Self { left, masks, columns: n, .. } = *self;
        let start = block * BLOCK;
        let inner = if left.columns - start < BLOCK { left.columns - start } else { BLOCK } as u32;
        let mut padding = [0.0; WORD];
        let mut column = first;
        while column + PANEL <= n {
            let (mut right, mut stride) = (&self.right[start * n + column..], n as u32);
            if n >= WIDE {
                for (out, i) in self.packed.as_chunks_mut::<PANEL>().0.iter_mut().zip(0..inner) {
                    *out = *row_part(right, i, stride);
                }
                (right, stride) = (&*self.packed, PANEL as u32);
            }
            let rows = self.sum.chunks_exact_mut(n).zip(masks.rows(left.columns)).zip(left.values.chunks(left.stride));
            for ((sum, mask), values) in rows {
                let values = whole_word(&values[start..], &mut padding);
                let panel = part_mut::<PANEL>(sum, column);
                let mut sum = *panel;
                if masks.full() {
                    for i in 0..inner {
                        accumulate(&mut sum, values[i as usize % WORD], row_part(right, i, stride));
                    }
                } else {
                    let mut mask = mask[block];
                    while mask != 0 {
                        let i = mask.trailing_zeros();
                        mask &= mask - 1;
                        accumulate(&mut sum, values[i as usize % WORD], row_part(right, i, stride));
                    }
                }
                *panel = sum;
            }
            column += PANEL;
        }
        column
    }
}
