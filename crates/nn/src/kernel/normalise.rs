//! The loops of the norms. Parameters and statistics of channels are spread over the columns first, so that each loop
//! runs over whole rows.
//!
//! `out` and `below` have the rows of [`Matrix::padded`]. The padding of `below` becomes 0; that of `out` is not
//! written.

use super::Matrix;
use crate::{
    buffer::padded,
    isa::Kernel,
    math::{dot, sum},
};

/// Adds the products of `left` and `right` to `sums`, column by column, in order of the rows.
pub(crate) struct ColumnProducts<'a> {
    pub(crate) left: Matrix<'a>,
    pub(crate) right: Matrix<'a>,
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for ColumnProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        for row in 0..self.left.rows {
            let pairs = self.left.row(row).iter().zip(self.right.row(row));
            self.sums.iter_mut().zip(pairs).for_each(|(sum, (x, y))| *sum = x.mul_add(*y, *sum));
        }
    }
}

/// Adds the values of `matrix` to `sums`, column by column, in order of the rows.
pub(crate) struct ColumnSums<'a> {
    pub(crate) matrix: Matrix<'a>,
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        for row in 0..self.matrix.rows {
            self.sums.iter_mut().zip(self.matrix.row(row)).for_each(|(sum, x)| *sum += x);
        }
    }
}

/// Writes `factor` · (`inputs` − `centre`) + `shift`, each of the three with a value for each column.
pub(crate) struct ScaleColumns<'a> {
    pub(crate) inputs: Matrix<'a>,
    pub(crate) centres: &'a [f32],
    pub(crate) factors: &'a [f32],
    pub(crate) shifts: &'a [f32],
    pub(crate) out: &'a mut [f32],
}

impl Kernel for ScaleColumns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let stride = padded(self.inputs.columns);
        for (row, out) in self.out.chunks_exact_mut(stride).take(self.inputs.rows).enumerate() {
            let rules = self.centres.iter().zip(self.factors).zip(self.shifts);
            for ((out, x), ((centre, factor), shift)) in out.iter_mut().zip(self.inputs.row(row)).zip(rules) {
                *out = factor.mul_add(x - centre, *shift);
            }
        }
    }
}

/// Normalises each row to the mean 0 and the variance 1. `inverses` receives 1 / √(variance + ε) of each row.
pub(crate) struct NormaliseRows<'a> {
    pub(crate) inputs: Matrix<'a>,
    pub(crate) epsilon: f32,
    pub(crate) out: &'a mut [f32],
    pub(crate) inverses: &'a mut [f32],
}

impl Kernel for NormaliseRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let columns = self.inputs.columns;
        let count = columns as f32;
        let rows = self.out.chunks_exact_mut(padded(columns)).zip(self.inverses);
        for ((out, inverse), row) in rows.zip(0..self.inputs.rows) {
            let (out, values) = (&mut out[..columns], self.inputs.row(row));
            let mean = sum(values) / count;
            out.iter_mut().zip(values).for_each(|(out, x)| *out = x - mean);
            *inverse = 1.0 / (dot(out, out) / count + self.epsilon).sqrt();
            out.iter_mut().for_each(|x| *x *= *inverse);
        }
    }
}

/// Writes the gradient at the inputs of [`NormaliseRows`] from `delta`, the gradient after each column was multiplied
/// by its factor.
pub(crate) struct RowsGradient<'a> {
    pub(crate) delta: Matrix<'a>,
    pub(crate) normalised: Matrix<'a>,
    pub(crate) factors: &'a [f32],
    pub(crate) inverses: &'a [f32],
    pub(crate) below: &'a mut [f32],
}

impl Kernel for RowsGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let columns = self.delta.columns;
        let count = columns as f32;
        let rows = self.below.chunks_exact_mut(padded(columns)).zip(self.inverses);
        for ((below, inverse), row) in rows.zip(0..self.delta.rows) {
            let (below, padding) = below.split_at_mut(columns);
            padding.fill(0.0);
            let normalised = self.normalised.row(row);
            let pairs = self.delta.row(row).iter().zip(self.factors);
            below.iter_mut().zip(pairs).for_each(|(out, (delta, factor))| *out = delta * factor);
            let (mean, along) = (sum(below) / count, dot(below, normalised) / count);
            let pairs = below.iter_mut().zip(normalised);
            pairs.for_each(|(out, x)| *out = inverse * (-along).mul_add(*x, *out - mean));
        }
    }
}

/// Writes the gradient at inputs that were normalised by the statistics of their columns: `factor` · (`delta` − `mean`
/// − `along` · `normalised`), each of the three with a value for each column.
pub(crate) struct ColumnsGradient<'a> {
    pub(crate) delta: Matrix<'a>,
    pub(crate) normalised: Matrix<'a>,
    pub(crate) factors: &'a [f32],
    pub(crate) means: &'a [f32],
    pub(crate) along: &'a [f32],
    pub(crate) below: &'a mut [f32],
}

impl Kernel for ColumnsGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const W: usize>(self) {
        let columns = self.delta.columns;
        for (row, below) in self.below.chunks_exact_mut(padded(columns)).take(self.delta.rows).enumerate() {
            let (below, padding) = below.split_at_mut(columns);
            padding.fill(0.0);
            let values = self.delta.row(row).iter().zip(self.normalised.row(row));
            let rules = self.factors.iter().zip(self.means).zip(self.along);
            for ((out, (delta, x)), ((factor, mean), along)) in below.iter_mut().zip(values).zip(rules) {
                *out = factor * (-along).mul_add(*x, delta - mean);
            }
        }
    }
}
