use std::ops::Range;

use super::{Masks, Rows, Tile, accumulate, mask::WORD, part, part_mut, row_parts, together};
use crate::{
    Buffer, Isa,
    buffer::{LANES, grow},
    rule::{Apply, Rule, Update},
};

/// Outputs that are taken through all inputs before the next: for a batch of 32 their part of `right` is half an L1 cache.
const GROUP: usize = 128;

/// `gradient = leftᵀ · right`, shapes (rows, inputs), (rows, outputs) and (inputs, outputs), summed over rows; each
/// stretch is handed to the update when it is finished, so that a step can be fused.
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
    /// Scratch: a group of outputs, stretch by stretch without a stride, so that the compiler knows the size of its parts;
    /// shape (stretches, words, WORD, W). An index that is checked costs half as much as a multiply-add.
    pub(crate) packed: &'a mut Buffer,
}

impl WeightGradient<'_> {
    /// In two functions, so that the one with the time in it holds one kind of tile: of a mixture LLVM keeps none in registers.
    pub(crate) fn run(mut self, isa: Isa, rule: &mut Rule<'_>) {
        let words = self.left.rows.div_ceil(WORD);
        grow(self.packed, words * WORD * GROUP);
        rule.run(isa, Whole(&mut self));
        rule.run(isa, Rest(&mut self));
    }

    /// Outputs that [`Whole`] takes.
    #[inline(always)]
    fn whole<const W: usize>(&self) -> usize {
        self.right.columns / W * W
    }

    /// Copies the stretches of outputs from `first` to `end`.
    #[inline(always)]
    fn copy_outputs<const W: usize>(&mut self, first: usize, end: usize) {
        // Of no rows there is nothing to copy, in chunks of any size but 0.
        let words = self.left.rows.div_ceil(WORD).max(1);
        let stretches = self.packed.as_chunks_mut::<W>().0.chunks_exact_mut(words * WORD);
        for (stretch, output) in stretches.zip((first..end).step_by(W)) {
            // With the padding, which `Rows::row` leaves out.
            for (out, row) in stretch.iter_mut().zip(self.right.values.chunks_exact(self.right.stride)) {
                *out = *part(row, output);
            }
        }
    }

    /// Whether two neighbouring inputs are taken together, as neighbouring pixels, which are zero together, had better be.
    #[inline(always)]
    fn together(&self, input: usize) -> bool {
        let (mut first, mut second, mut either) = (0, 0, 0);
        for word in 0..self.left.rows.div_ceil(WORD) {
            let [a, b] = self.columns(word, input);
            first += a.count_ones();
            second += b.count_ones();
            either += (a | b).count_ones();
        }
        together(first, second, either)
    }

    #[inline(always)]
    fn columns<const R: usize>(&self, word: usize, input: usize) -> [u64; R] {
        *self.masks.columns(word, self.left.columns)[input..].first_chunk().expect("R inputs")
    }

    /// The gradient of `R` inputs and `C` of the stretches of outputs that were copied.
    #[inline(always)]
    fn tile<const W: usize, const C: usize, const R: usize>(&self, input: usize, stretch: usize) -> Tile<W, C, R> {
        let left = self.left;
        let (words, stride) = (left.rows.div_ceil(WORD), left.stride as u32);
        let right = self.packed.as_chunks::<W>().0.as_chunks::<WORD>().0;
        let right: [_; C] = std::array::from_fn(|c| &right[(stretch + c) * words..(stretch + c + 1) * words]);
        let mut sums = [[[0.0; W]; C]; R];
        for word in 0..words {
            let left_rows = &left.values[word * WORD * left.stride + input..];
            let right = right.map(|right| &right[word]);
            let columns: [u64; R] = self.columns(word, input);
            let mut mask = columns.iter().fold(0, |all, mask| all | mask);
            while mask != 0 {
                let row = mask.trailing_zeros();
                mask &= mask - 1;
                let [xs] = row_parts(left_rows, row, stride);
                accumulate(&mut sums, *xs, right.map(|right| &right[row as usize % WORD]));
            }
        }
        sums
    }

    #[inline(always)]
    fn finish<const W: usize>(&mut self, input: usize, output: usize, sums: &[f32; W], update: &mut impl Update) {
        let at = input * self.right.columns + output;
        update.panel(self.offset + at, part_mut(self.target, at), sums);
    }
}

/// All inputs in pairs, and the outputs that fill whole stretches.
struct Whole<'a, 'b>(&'a mut WeightGradient<'b>);

impl Apply for Whole<'_, '_> {
    #[inline(always)]
    fn apply<const W: usize>(mut self, update: &mut impl Update) {
        let outputs = self.0.whole::<W>();
        for first in (0..outputs).step_by(GROUP) {
            let end = if outputs - first < GROUP { outputs } else { first + GROUP };
            self.0.copy_outputs::<W>(first, end);
            for input in (1..self.0.left.columns).step_by(2) {
                if self.0.together(input - 1) {
                    self.two::<W>(input - 1, first..end, update);
                } else {
                    self.one::<W>(input - 1, first..end, update);
                    self.one::<W>(input, first..end, update);
                }
            }
        }
    }
}

impl Whole<'_, '_> {
    #[inline(always)]
    fn two<const W: usize>(&mut self, input: usize, outputs: Range<usize>, update: &mut impl Update) {
        for (stretch, output) in outputs.step_by(W).enumerate() {
            let [[first], [second]] = self.0.tile::<W, 1, 2>(input, stretch);
            self.0.finish(input, output, &first, update);
            self.0.finish(input + 1, output, &second, update);
        }
    }

    #[inline(always)]
    fn one<const W: usize>(&mut self, input: usize, outputs: Range<usize>, update: &mut impl Update) {
        let (mut stretch, mut output) = (0, outputs.start);
        while output + 2 * W <= outputs.end {
            let [[left, right]] = self.0.tile::<W, 2, 1>(input, stretch);
            self.0.finish(input, output, &left, update);
            self.0.finish(input, output + W, &right, update);
            (stretch, output) = (stretch + 2, output + 2 * W);
        }
        if output < outputs.end {
            let [[sums]] = self.0.tile::<W, 1, 1>(input, stretch);
            self.0.finish(input, output, &sums, update);
        }
    }
}

/// What [`Whole`] leaves: the last outputs, and the last input where their number is odd.
struct Rest<'a, 'b>(&'a mut WeightGradient<'b>);

impl Apply for Rest<'_, '_> {
    #[inline(always)]
    fn apply<const W: usize>(mut self, update: &mut impl Update) {
        let (inputs, outputs) = (self.0.left.columns, self.0.right.stride);
        for output in (self.0.whole::<W>()..outputs).step_by(LANES) {
            self.0.copy_outputs::<LANES>(output, output + LANES);
            for input in (1..inputs).step_by(2) {
                if self.0.together(input - 1) {
                    let [[first], [second]] = self.0.tile::<LANES, 1, 2>(input - 1, 0);
                    self.finish(input - 1, output, &first, update);
                    self.finish(input, output, &second, update);
                } else {
                    self.one(input - 1, output, update);
                    self.one(input, output, update);
                }
            }
        }
        if inputs % 2 == 1 {
            for output in (0..outputs).step_by(LANES) {
                self.0.copy_outputs::<LANES>(output, output + LANES);
                self.one(inputs - 1, output, update);
            }
        }
    }
}

impl Rest<'_, '_> {
    #[inline(always)]
    fn one(&mut self, input: usize, output: usize, update: &mut impl Update) {
        let [[sums]] = self.0.tile::<LANES, 1, 1>(input, 0);
        self.finish(input, output, &sums, update);
    }

    /// The last stretch of a row is shorter.
    #[inline(always)]
    fn finish(&mut self, input: usize, output: usize, sums: &[f32; LANES], update: &mut impl Update) {
        let WeightGradient { right, target, offset, .. } = &mut *self.0;
        let (at, left) = (input * right.columns + output, right.columns - output);
        let real = if left < LANES { left } else { LANES };
        update.slice(*offset + at, &mut target[at..at + real], &sums[..real]);
    }
}
