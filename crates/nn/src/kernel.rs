//! The three matrix products of a layer, and the loops that they share.
//!
//! **The promise:** each output element starts at 0 or at its bias and accumulates over its inner index in order, by
//! fused multiply-add. A result depends on nothing else, such as the tile or the instruction set. `naive.rs` states the
//! same promise as plain loops.
//!
//! Zeros of the left operand (pixels, outputs of ReLU) are skipped where that is faster:
//!
//! | product | skipped zeros |
//! |---|---|
//! | any, in a narrow layer ([`is_narrow`]) | none |
//! | outputs, or the gradient at a layer's inputs | none if the left matrix is nearly full, otherwise all |
//! | weight gradient | those of each input, or those that two neighbouring inputs have in common |
//!
//! A skipped zero changes no finite result except the sign of a zero. The operands alone decide which row of the table
//! applies, so that infinities and NaN are the same everywhere, too (a test).
//!
//! Most loops keep a tile of sums in eight registers, and add to it for each value of the left operand. Loops that skip
//! zeros iterate over the bits of a mask.
//!
//! The products of other libraries cannot skip zeros, cannot fuse the optimiser's step, and promise no order of
//! addition.

use crate::buffer::{LANES, padded};

mod mask;
mod normalise;
mod patches;
mod pool;
mod product;
mod relu;
mod transpose;
mod weight_gradient;

pub(crate) use mask::{ColumnMasks, Masks, RowMasks};
pub(crate) use normalise::{ColumnProducts, ColumnSums, ColumnsGradient, NormaliseRows, RowsGradient, ScaleColumns};
pub(crate) use patches::{AddPatches, Patches, Window};
pub(crate) use pool::{Pool, PoolGradient, Squares};
pub(crate) use product::{PACKED, Product};
pub(crate) use relu::{Relu, ReluGradient};
pub(crate) use transpose::{Pad, Transpose};
pub(crate) use weight_gradient::WeightGradient;

/// Returns `true` for a layer with at most [`LANES`] outputs, where skipping a zero costs more than a multiply-add.
pub(crate) fn is_narrow(columns: usize) -> bool {
    columns <= LANES
}

/// Sums that stay in registers: in each of `R` rows `C` stretches of `W` columns.
type Tile<const W: usize, const C: usize, const R: usize> = [[[f32; W]; C]; R];

/// A row-major matrix whose rows start `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a> Matrix<'a> {
    /// Returns the matrix of all `values`, without a distance between the rows.
    pub(crate) fn dense(values: &'a [f32], columns: usize) -> Self {
        Self { values, stride: columns, rows: values.len() / columns, columns }
    }

    /// Returns the matrix of the first `rows` rows of `values`, each padded to a multiple of [`LANES`].
    pub(crate) fn padded(values: &'a [f32], rows: usize, columns: usize) -> Self {
        let stride = padded(columns);
        Self { values: &values[..rows * stride], stride, rows, columns }
    }

    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..row * self.stride + self.columns]
    }
}

/// Returns the `N` values from index `at` as an array, so that the compiler knows the length of a loop over them.
#[inline(always)]
fn part<const N: usize>(values: &[f32], at: usize) -> &[f32; N] {
    values[at..].first_chunk().expect("a panel within the row")
}

/// Returns the `N` values from index `at` as a mutable array.
#[inline(always)]
pub(crate) fn part_mut<const N: usize>(values: &mut [f32], at: usize) -> &mut [f32; N] {
    values[at..].first_chunk_mut().expect("a panel within the row")
}

/// Returns `C` times `W` values from the start of row `row`. The product of two `u32` values cannot overflow a `usize`,
/// so that a loop has one check of bounds instead of the two of [`part`].
#[inline(always)]
fn row_parts<const W: usize, const C: usize>(values: &[f32], row: u32, stride: u32) -> [&[f32; W]; C] {
    let at = row as usize * stride as usize;
    let parts: &[[f32; W]; C] = values[at..at + C * W].as_chunks().0.try_into().expect("C times W values");
    parts.each_ref()
}

/// Adds the outer product of `xs` and `values` to `sums`. The loops use indices, since iterators over two arrays are
/// not always compiled to whole vectors.
#[inline(always)]
fn accumulate<const W: usize, const C: usize, const R: usize>(
    sums: &mut Tile<W, C, R>,
    xs: [f32; R],
    values: [&[f32; W]; C],
) {
    for c in 0..C {
        for lane in 0..W {
            for r in 0..R {
                sums[r][c][lane] = xs[r].mul_add(values[c][lane], sums[r][c][lane]);
            }
        }
    }
}
