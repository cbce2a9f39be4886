//! Copies of matrices with padded rows: as they are, or transposed.

use super::Matrix;
use crate::{
    buffer::{LANES, padded},
    isa::Kernel,
};

/// Writes the transpose of `matrix` to `out`, with rows padded with zeros to a multiple of [`LANES`].
pub(crate) struct Transpose<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let Matrix { rows, columns, .. } = self.matrix;
        let stride = padded(rows);
        let (whole_rows, whole_columns) = (rows / SIDE * SIDE, columns / SIDE * SIDE);
        for c in (0..whole_columns).step_by(SIDE) {
            for r in (0..whole_rows).step_by(SIDE) {
                let rows = std::array::from_fn(|i| *super::part(self.matrix.row(r + i), c));
                for (j, row) in transpose(rows).into_iter().enumerate() {
                    *super::part_mut(self.out, (c + j) * stride + r) = row;
                }
            }
        }
        for r in 0..rows {
            let first = if r < whole_rows { whole_columns } else { 0 };
            for c in first..columns {
                self.out[c * stride + r] = self.matrix.row(r)[c];
            }
        }
        for out in self.out.chunks_exact_mut(stride).take(columns) {
            out[rows..].fill(0.0);
        }
    }
}

const SIDE: usize = 8;

/// Transposes a square by swapping halves of ever larger squares, which LLVM compiles to shuffles of registers. It does
/// so only for an argument by value and for nested loops over indices.
#[inline(always)]
fn transpose(mut square: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    for half in [1, 2, 4] {
        for row in 0..SIDE {
            if row & half == 0 {
                for column in 0..SIDE {
                    if column & half == 0 {
                        let right = square[row][column + half];
                        square[row][column + half] = square[row + half][column];
                        square[row + half][column] = right;
                    }
                }
            }
        }
    }
    square
}

/// Copies `matrix` to `out`, with rows padded with zeros to a multiple of [`LANES`].
pub(crate) struct Pad<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Pad<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let stride = padded(self.matrix.columns);
        for (r, out) in self.out.chunks_exact_mut(stride).take(self.matrix.rows).enumerate() {
            let row = self.matrix.row(r);
            let (whole, rest) = out.split_at_mut(row.len() / LANES * LANES);
            whole.copy_from_slice(&row[..whole.len()]);
            // A loop of known length copies the last vector: a call of memcpy would cost more than the rest of the row.
            let tail = &row[whole.len()..];
            for (i, o) in rest.iter_mut().enumerate() {
                *o = tail.get(i).copied().unwrap_or(0.0);
            }
        }
    }
}
