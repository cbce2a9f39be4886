//! The three matrix products of a layer, and what they stand on.
//!
//! **The promise:** every output element starts at 0 (or its bias) and accumulates over its inner index in order, by
//! fused multiply-add. Nothing else is in a result, so the tile and the instruction set are not. `naive.rs` is the same
//! promise as plain loops. Zeros of the left operand (pixels, and whatever ReLU gave) are skipped where it pays, which no
//! finite result shows but by the sign of a zero: none in a narrow layer ([`is_narrow`]); in a product none of a matrix that is
//! nearly full, in a weight gradient those of both of two neighbouring inputs, or of each by itself. Which of these it is
//! follows from the operands alone, so that results that are not finite are the same everywhere, too (a test).
//!
//! Most loops keep a tile of sums in eight registers and add to it for each value of the left operand. Those that skip walk
//! the bits of a mask.
//!
//! No library's product is used: FIELD.md measured 0.313 s an epoch with `gemm` 0.19 and 0.315 s with `matrixmultiply`
//! where such loops took 0.187 s, since a library can neither skip zeros nor fuse the step, and promises no order.

use crate::buffer::LANES;

mod mask;
mod product;
mod relu;
mod transpose;
mod weight_gradient;

pub(crate) use mask::{ColumnMasks, Masks, RowMasks};
pub(crate) use product::{PACKED, Product};
pub(crate) use relu::{Relu, ReluGradient};
pub(crate) use transpose::{Pad, Transpose};
pub(crate) use weight_gradient::WeightGradient;

/// Whether a layer has so few outputs, no more than [`LANES`], that to skip a zero costs more than a multiply-add.
pub(crate) fn is_narrow(columns: usize) -> bool {
    columns <= LANES
}

/// Sums that stay in registers: `C` stretches of `W` columns in each of `R` rows.
type Tile<const W: usize, const C: usize, const R: usize> = [[[f32; W]; C]; R];

/// A row-major matrix whose rows start `stride` values apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..row * self.stride + self.columns]
    }
}

/// The `N` values from `at`, as an array, so that the compiler knows the length of the loop over them.
#[inline(always)]
fn part<const N: usize>(values: &[f32], at: usize) -> &[f32; N] {
    values[at..].first_chunk().expect("a panel within the row")
}

#[inline(always)]
pub(crate) fn part_mut<const N: usize>(values: &mut [f32], at: usize) -> &mut [f32; N] {
    values[at..].first_chunk_mut().expect("a panel within the row")
}

/// `C` times `W` values from the start of row `row`. In a loop this has one check of bounds where [`part`] has two, because
/// the product of two `u32`s cannot overflow.
#[inline(always)]
fn row_parts<const W: usize, const C: usize>(values: &[f32], row: u32, stride: u32) -> [&[f32; W]; C] {
    let at = row as usize * stride as usize;
    let parts: &[[f32; W]; C] = values[at..at + C * W].as_chunks().0.try_into().expect("C times W values");
    parts.each_ref()
}

/// `sums += xs · values`, the outer product. By index: the iterators of two arrays are not always compiled to whole vectors.
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
