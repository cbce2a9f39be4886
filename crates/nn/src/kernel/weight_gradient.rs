use super::{Masks, Rows, accumulate, mask::WORD, part_mut, row_part};
use crate::{
    buffer::LANES,
    rule::{Apply, Update},
};

/// `gradient = leftᵀ · right`, shapes (rows, inputs), (rows, outputs) and (inputs, outputs), summed over rows; each
/// panel is handed to the update when it is finished, so that a step can be fused.
///
/// `right` has rows of a multiple of [`LANES`], padded with zeros; `target` has none between its rows.
pub(crate) struct WeightGradient<'a> {
    pub(crate) left: Rows<'a>,
    /// Of `left`.
    pub(crate) masks: &'a Masks,
    pub(crate) right: Rows<'a>,
    /// What the update changes, shape (inputs, outputs), and where it starts in the flat buffer.
    pub(crate) target: &'a mut [f32],
    pub(crate) offset: usize,
    /// Scratch for the last panel of a row.
    pub(crate) tail: &'a mut [f32],
}

impl Apply for WeightGradient<'_> {
    #[inline(always)]
    fn apply<const PANEL: usize>(mut self, update: &mut impl Update) {
        for input in 0..self.left.columns {
            let wide = self.panels::<PANEL>(input, 0, update);
            self.panels::<LANES>(input, wide, update);
        }
    }
}

impl WeightGradient<'_> {
    /// Takes whole panels of outputs from `first` on, and returns the first output that is left.
    #[inline(always)]
    fn panels<const PANEL: usize>(&mut self, input: usize, first: usize, update: &mut impl Update) -> usize {
        let Self { left, masks, right, .. } = *self;
        let (left_stride, right_stride) = (left.stride as u32, right.stride as u32);
        let mut output = first;
        while output + PANEL <= right.stride {
            let mut sum = [0.0; PANEL];
            if masks.full() {
                let (values, rows) = (&left.values[input..], &right.values[output..]);
                for row in 0..left.rows as u32 {
                    let [x] = *row_part(values, row, left_stride);
                    accumulate(&mut sum, x, row_part(rows, row, right_stride));
                }
            } else {
                for word in 0..left.rows.div_ceil(WORD) {
                    let values = &left.values[word * WORD * left.stride + input..];
                    let rows = &right.values[word * WORD * right.stride + output..];
                    let mut mask = masks.columns(word, left.columns)[input];
                    while mask != 0 {
                        let row = mask.trailing_zeros();
                        mask &= mask - 1;
                        let [x] = *row_part(values, row, left_stride);
                        accumulate(&mut sum, x, row_part(rows, row, right_stride));
                    }
                }
            }
            self.finish(input, output, &sum, update);
            output += PANEL;
        }
        output
    }

    #[inline(always)]
    fn finish<const N: usize>(&mut self, input: usize, output: usize, sum: &[f32; N], update: &mut impl Update) {
        let at = input * self.right.columns + output;
        // Twice the same call: only where the length is known is it compiled to whole vectors.
        if output + N <= self.right.columns {
            update.panel(self.offset + at, part_mut(self.target, at), sum);
        } else {
            // Through other memory: sums whose address is taken for an unknown length do not stay in registers.
            self.tail[..N].copy_from_slice(sum);
            let real = self.right.columns - output;
            update.slice(self.offset + at, &mut self.target[at..at + real], &self.tail[..real]);
        }
    }
}
