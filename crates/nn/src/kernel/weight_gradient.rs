use super::{Masks, Rows, accumulate, mask::WORD, part, part_mut};
use crate::{buffer::LANES, isa::Kernel, rule::Rule};

/// `gradient = leftᵀ · right`, shapes (rows, inputs), (rows, outputs) and (inputs, outputs), summed over rows; each
/// panel is handed to `rule` when it is finished, so that a step can be fused.
///
/// `right` has rows of a multiple of [`LANES`], padded with zeros; `target` has none between its rows.
pub(crate) struct WeightGradient<'a, 'r> {
    pub(crate) left: Rows<'a>,
    /// Of `left`.
    pub(crate) masks: &'a Masks,
    pub(crate) right: Rows<'a>,
    pub(crate) rule: &'a mut Rule<'r>,
    /// What the rule changes, shape (inputs, outputs), and where it starts in the flat buffer.
    pub(crate) target: &'a mut [f32],
    pub(crate) offset: usize,
    /// Scratch for the last panel of a row.
    pub(crate) tail: &'a mut [f32; LANES],
}

impl Kernel for WeightGradient<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<const ROWS: usize, const COLS: usize, const PANEL: usize>(mut self) {
        let inputs = self.left.columns;
        let mut input = 0;
        if self.masks.full() {
            while input + ROWS <= inputs {
                let wide = self.dense::<ROWS, COLS>(input, 0);
                self.dense::<ROWS, LANES>(input, wide);
                input += ROWS;
            }
        }
        while input < inputs {
            let wide = self.sparse::<PANEL>(input, 0);
            self.sparse::<LANES>(input, wide);
            input += 1;
        }
    }
}

impl WeightGradient<'_, '_> {
    /// Takes whole panels of outputs from `first` on, and returns the first output that is left.
    #[inline(always)]
    fn sparse<const PANEL: usize>(&mut self, input: usize, first: usize) -> usize {
        let mut output = first;
        while output + PANEL <= self.right.stride {
            let mut sum = [0.0; PANEL];
            for word in 0..self.left.rows.div_ceil(WORD) {
                let mut mask = self.masks.columns(word, self.left.columns)[input];
                while mask != 0 {
                    let row = word * WORD + mask.trailing_zeros() as usize;
                    mask &= mask - 1;
                    let x = self.left.values[row * self.left.stride + input];
                    accumulate(&mut sum, x, part(self.right.values, row * self.right.stride + output));
                }
            }
            self.finish(input, output, sum);
            output += PANEL;
        }
        output
    }

    /// As [`WeightGradient::sparse`], for `ROWS` inputs.
    #[inline(always)]
    fn dense<const ROWS: usize, const COLS: usize>(&mut self, input: usize, first: usize) -> usize {
        let mut output = first;
        while output + COLS <= self.right.stride {
            let mut sums = [[0.0; COLS]; ROWS];
            for row in 0..self.left.rows {
                let x: &[f32; ROWS] = part(self.left.values, row * self.left.stride + input);
                let right = part(self.right.values, row * self.right.stride + output);
                for r in 0..ROWS {
                    accumulate(&mut sums[r], x[r], right);
                }
            }
            for r in 0..ROWS {
                self.finish(input + r, output, sums[r]);
            }
            output += COLS;
        }
        output
    }

    #[inline(always)]
    fn finish<const N: usize>(&mut self, input: usize, output: usize, sum: [f32; N]) {
        let at = input * self.right.columns + output;
        // Twice the same call: only where the length is known is it compiled to whole vectors.
        if output + N <= self.right.columns {
            self.rule.apply_panel(self.offset + at, part_mut(self.target, at), &sum);
        } else {
            // Through other memory: sums whose address is taken for an unknown length do not stay in registers.
            self.tail[..N].copy_from_slice(&sum);
            let real = self.right.columns - output;
            self.rule.apply(self.offset + at, &mut self.target[at..at + real], &self.tail[..real]);
        }
    }
}
