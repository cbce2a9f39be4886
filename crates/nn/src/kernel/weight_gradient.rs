//! The gradient of a layer's weights, and the optimiser's step on it.

use std::ops::Range;

use super::{Masks, Matrix, Tile, accumulate, is_narrow, mask::WORD, part, part_mut, row_parts};
use crate::{
    buffer::{Buffer, LANES, grow},
    isa::Isa,
    rule::{Apply, StepRule, StepUpdate},
};

/// The number of outputs that are computed for all inputs before the next outputs. For a batch of 32, their part of
/// `right` takes half of an L1 cache.
const GROUP: usize = 128;

/// Computes `leftᵀ · right`, summed over rows; shapes (rows, inputs), (rows, outputs) and (inputs, outputs).
///
/// Each stretch of the gradient is passed to the update as soon as it is finished, so that a step can be fused. Rows of
/// `right` are padded with zeros to a multiple of [`LANES`]; rows of `target` are not padded.
pub(crate) struct WeightGradient<'a> {
    pub(crate) left: Matrix<'a>,
    /// The masks of `left`, which a narrow layer does not use.
    pub(crate) masks: &'a Masks,
    pub(crate) right: Matrix<'a>,
    /// The values that the update changes, shape (inputs, outputs).
    pub(crate) target: &'a mut [f32],
    /// The index of `target` in the flat buffer.
    pub(crate) offset: usize,
    /// Scratch for a group of outputs without a stride, shape (stretches, words, WORD, W). The compiler knows the size
    /// of its parts and checks no index; a check costs half as much as a multiply-add.
    pub(crate) packed: &'a mut Buffer,
}

impl WeightGradient<'_> {
    /// Runs a loop for each kind of tile. Each is a function of its own, since LLVM keeps no tile of a mixture in
    /// registers.
    pub(crate) fn run(mut self, isa: Isa, rule: &mut StepRule<'_>) {
        grow(self.packed, self.left.rows.next_multiple_of(WORD).max(WORD) * GROUP);
        let inputs = self.left.columns;
        if is_narrow(self.right.columns) {
            let eights = inputs / 8 * 8;
            rule.run(isa, Narrow::<8>(self.lend(), 0..eights));
            return rule.run(isa, Narrow::<1>(self, eights..inputs));
        }
        let pairs = if self.masks.columns_together { inputs / 2 * 2 } else { 0 };
        // A loop without inputs would still copy the outputs.
        if pairs > 0 {
            rule.run(isa, Whole::<2, 2>(self.lend(), 0..pairs));
            rule.run(isa, Whole::<2, 1>(self.lend(), 0..pairs));
            rule.run(isa, Rest::<2>(self.lend(), 0..pairs));
        }
        if pairs < inputs {
            rule.run(isa, Whole::<1, 2>(self.lend(), pairs..inputs));
            rule.run(isa, Whole::<1, 1>(self.lend(), pairs..inputs));
            rule.run(isa, Rest::<1>(self, pairs..inputs));
        }
    }

    /// Reborrows all parts for one of several loops.
    fn lend(&mut self) -> WeightGradient<'_> {
        let WeightGradient { left, masks, right, offset, .. } = *self;
        WeightGradient { left, masks, right, target: &mut *self.target, offset, packed: &mut *self.packed }
    }
}

/// Copies `outputs` to `packed`, stretch by stretch, and returns the words of the stretches.
#[inline(always)]
fn copy_outputs<'a, const W: usize>(
    packed: &'a mut [f32],
    right: Matrix<'_>,
    outputs: Range<usize>,
) -> &'a [[[f32; W]; WORD]] {
    let words = right.rows.div_ceil(WORD).max(1);
    let packed = packed.as_chunks_mut::<W>().0;
    for (i, output) in outputs.step_by(W).enumerate() {
        // `Matrix::row` would leave out the padding.
        let stretch = &mut packed[i * words * WORD..];
        for (out, row) in stretch.iter_mut().zip(right.values.chunks_exact(right.stride)) {
            *out = *part(row, output);
        }
    }
    packed.as_chunks().0
}

/// Returns the mask of the rows in which one of `R` neighbouring inputs is not zero.
#[inline(always)]
fn mask<const R: usize>(columns: &[u64], input: usize) -> u64 {
    let masks: &[u64; R] = columns[input..].first_chunk().expect("R inputs");
    masks.iter().fold(0, |all, mask| all | mask)
}

/// The loop over tiles of `R` inputs and `C` whole stretches of outputs. Single stretches (`C` = 1) are those after the
/// last pair.
struct Whole<'a, const R: usize, const C: usize>(WeightGradient<'a>, Range<usize>);

impl<const R: usize, const C: usize> Apply for Whole<'_, R, C> {
    #[inline(always)]
    fn apply<const W: usize, U: StepUpdate>(self, update: &mut U) {
        // The parts are moved out of `self`: LLVM assumes that each store may change a value behind a pointer.
        let Self(WeightGradient { left, masks, right, target, offset, packed }, inputs) = self;
        // An empty batch has one word, too.
        let columns = right.columns;
        let words = left.rows.div_ceil(WORD).max(1);
        // The sums of two inputs and two stretches take sixteen registers; only AVX-512 has more than sixteen.
        let has_pairs = R == 1 || W == 4 * LANES;
        if C == 2 && !has_pairs {
            return;
        }
        let first = if C == 1 && has_pairs { columns / (2 * W) * (2 * W) } else { 0 };
        let last = columns / (C * W) * (C * W);
        let by_column = masks.columns();
        let mut finished = [[0.0; GROUP]; R];
        for first in (first..last).step_by(GROUP) {
            let end = if last - first < GROUP { last } else { first + GROUP };
            let packed = copy_outputs::<W>(packed, right, first..end);
            let targets = target[inputs.start * columns..inputs.end * columns].chunks_exact_mut(R * columns);
            for (input, target) in inputs.clone().step_by(R).zip(targets) {
                let gradient = Gradient { left, by_column, input, words, first_mask: mask::<R>(by_column, input) };
                let at = offset + input * columns + first;
                let mut rows = target.chunks_exact_mut(columns).map(|row| &mut row[first..end]);
                let mut rows: [_; R] = std::array::from_fn(|_| rows.next().expect("R inputs"));
                // One iterator for each input, so that no index is checked.
                let mut in_place = rows.each_mut().map(|row| row.chunks_exact_mut(C * W));
                let mut aside = finished.each_mut().map(|row| row.chunks_exact_mut(C * W));
                for (stretch, right) in packed.chunks_exact(C * words).take((end - first) / (C * W)).enumerate() {
                    let sums: Tile<W, C, R> = gradient.of(right);
                    for r in 0..R {
                        let out = if U::IN_REGISTERS { in_place[r].next() } else { aside[r].next() };
                        let out = out.expect("a stretch").as_chunks_mut::<W>().0;
                        for (c, out) in out.iter_mut().enumerate() {
                            if U::IN_REGISTERS {
                                update.panel(at + r * columns + (stretch * C + c) * W, out, &sums[r][c])
                            } else {
                                *out = sums[r][c]
                            }
                        }
                    }
                }
                if !U::IN_REGISTERS {
                    for (r, (finished, row)) in finished.iter().zip(&mut rows).enumerate() {
                        update.slice(at + r * columns, row, &finished[..end - first]);
                    }
                }
            }
        }
    }
}

/// The operands for the gradient of neighbouring inputs, from `input` on.
struct Gradient<'a> {
    left: Matrix<'a>,
    by_column: &'a [u64],
    input: usize,
    words: usize,
    /// The mask of the first word, read once for all stretches; a usual batch has no other word.
    first_mask: u64,
}

impl Gradient<'_> {
    /// Returns the sums for the `C` stretches of outputs in `right`, over all words.
    #[inline(always)]
    fn of<const W: usize, const C: usize, const R: usize>(&self, right: &[[[f32; W]; WORD]]) -> Tile<W, C, R> {
        let Self { left, by_column, input, words, first_mask } = *self;
        let mut sums = [[[0.0; W]; C]; R];
        let word_of = |word| std::array::from_fn(|c| &right[c * words + word]);
        // An empty batch has no rows.
        let rows = left.values.get(input..).unwrap_or_default();
        walk(&mut sums, first_mask, rows, left.stride as u32, word_of(0));
        for word in 1..words {
            let mask = mask::<R>(&by_column[word * left.columns..], input);
            walk(&mut sums, mask, &rows[word * WORD * left.stride..], left.stride as u32, word_of(word));
        }
        sums
    }
}

/// Adds the rows of one word to `sums`.
#[inline(always)]
fn walk<const W: usize, const C: usize, const R: usize>(
    sums: &mut Tile<W, C, R>,
    mut mask: u64,
    left: &[f32],
    stride: u32,
    right: [&[[f32; W]; WORD]; C],
) {
    while mask != 0 {
        let row = mask.trailing_zeros();
        mask &= mask - 1;
        let [xs] = row_parts(left, row, stride);
        accumulate(sums, *xs, right.map(|right| &right[row as usize % WORD]));
    }
}

/// The loop over the last outputs, which are fewer than a stretch.
struct Rest<'a, const R: usize>(WeightGradient<'a>, Range<usize>);

impl<const R: usize> Apply for Rest<'_, R> {
    #[inline(always)]
    fn apply<const W: usize, U: StepUpdate>(self, update: &mut U) {
        let Self(WeightGradient { left, masks, right, target, offset, packed }, inputs) = self;
        let columns = right.columns;
        let words = left.rows.div_ceil(WORD);
        for output in (columns / W * W..right.stride).step_by(LANES) {
            let packed = copy_outputs::<LANES>(packed, right, output..output + LANES);
            // The last stretch of a row is shorter.
            let real = if columns - output < LANES { columns - output } else { LANES };
            for input in inputs.clone().step_by(R) {
                let mut sums: Tile<LANES, 1, R> = [[[0.0; LANES]; 1]; R];
                for (word, values) in packed[..words].iter().enumerate() {
                    let mask = mask::<R>(&masks.columns()[word * left.columns..], input);
                    let rows = &left.values[word * WORD * left.stride + input..];
                    walk(&mut sums, mask, rows, left.stride as u32, [values]);
                }
                for (r, [sums]) in sums.iter().enumerate() {
                    let at = (input + r) * columns + output;
                    update.slice(offset + at, &mut target[at..at + real], &sums[..real]);
                }
            }
        }
    }
}

/// The loop for narrow layers, which skips nothing. A tile has `R` neighbouring inputs and eight outputs.
struct Narrow<'a, const R: usize>(WeightGradient<'a>, Range<usize>);

impl<const R: usize> Apply for Narrow<'_, R> {
    #[inline(always)]
    fn apply<const W: usize, U: StepUpdate>(self, update: &mut U) {
        let Self(WeightGradient { left, right, target, offset, .. }, inputs) = self;
        let columns = right.columns;
        let targets = target[inputs.start * columns..inputs.end * columns].chunks_exact_mut(R * columns);
        for (input, target) in inputs.step_by(R).zip(targets) {
            // `is_narrow` promises that they fit.
            let mut sums = [[0.0; LANES]; R];
            for output in (0..columns).step_by(8) {
                let mut tile: Tile<8, 1, R> = [[[0.0; 8]; 1]; R];
                for row in 0..left.rows as u32 {
                    let [xs] = row_parts(&left.values[input..], row, left.stride as u32);
                    accumulate(&mut tile, *xs, row_parts(&right.values[output..], row, right.stride as u32));
                }
                tile.iter().zip(&mut sums).for_each(|([tile], sums)| *part_mut(sums, output) = *tile);
            }
            for (r, (target, sums)) in target.chunks_exact_mut(columns).zip(&sums).enumerate() {
                update.slice(offset + (input + r) * columns, target, &sums[..columns]);
            }
        }
    }
}
