//! The parts that both norms share: a factor and a shift for each channel.

use std::ops::Range;

use super::{LayerTensor, Shape, Start, TensorRole};
use crate::{
    buffer::{Buffer, grow, padded, zeros},
    isa::Isa,
    kernel::{ColumnProducts, ColumnSums, Matrix, ScaleColumns},
    rule::{Step, StepRule},
};

/// ε of both norms, which is added to a variance.
pub(super) const EPSILON: f32 = 1e-5;

/// The factor γ and the shift β of each channel, which follow a normalisation.
#[derive(Debug)]
pub(super) struct Affine {
    shape: Shape,
    /// The index of γ in the flat buffer; β follows γ.
    offset: usize,
    /// The normalised values, shape (batch, padded columns).
    pub(super) normalised: Buffer,
    /// The outputs γ · normalised + β, of the same shape.
    values: Buffer,
    /// γ and β of each column.
    pub(super) factors: Vec<f32>,
    shifts: Vec<f32>,
    /// 0 for each column.
    pub(super) zeros: Vec<f32>,
    /// The gradients of γ and of β, by channel.
    pub(super) gradients: [Vec<f32>; 2],
    /// The sums of columns.
    pub(super) sums: Vec<f32>,
}

impl Affine {
    pub(super) fn new(shape: Shape, offset: usize) -> Self {
        let columns = || vec![0.0; shape.len()];
        let channels = || vec![0.0; shape.channels];
        Self {
            shape,
            offset,
            normalised: zeros(0),
            values: zeros(0),
            factors: columns(),
            shifts: columns(),
            zeros: columns(),
            gradients: [channels(), channels()],
            sums: columns(),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Returns the range of tensor number `tensor` of the layer: γ, β, and what a norm adds to them.
    pub(super) fn range(&self, tensor: usize) -> Range<usize> {
        let start = self.offset + tensor * self.shape.channels;
        start..start + self.shape.channels
    }

    /// Returns a tensor of one value a channel.
    pub(super) fn tensor(&self, field: &'static str, role: TensorRole, start: f32) -> LayerTensor {
        LayerTensor { field, shape: vec![self.shape.channels], role, start: Start::Fill(start) }
    }

    /// Returns γ and β.
    pub(super) fn tensors(&self) -> Vec<LayerTensor> {
        let (weight, bias) = (("weight", 1.0), ("bias", 0.0));
        [weight, bias].map(|(field, start)| self.tensor(field, TensorRole::Norm, start)).to_vec()
    }

    /// Returns memory for the normalised values of `rows` examples.
    pub(super) fn normalised(&mut self, rows: usize) -> &mut Buffer {
        let len = rows * padded(self.shape.len());
        grow(&mut self.values, len);
        grow(&mut self.normalised, len);
        &mut self.normalised
    }

    /// Computes the outputs from the normalised values.
    pub(super) fn forward(&mut self, isa: Isa, weights: &[f32], rows: usize) {
        let (factors, shifts) = (&weights[self.range(0)], &weights[self.range(1)]);
        spread(factors, &mut self.factors);
        spread(shifts, &mut self.shifts);
        let inputs = Matrix::padded(&self.normalised, rows, self.shape.len());
        let (centres, factors, shifts) = (&*self.zeros, &*self.factors, &*self.shifts);
        isa.run(ScaleColumns { inputs, centres, factors, shifts, out: &mut self.values });
    }

    pub(super) fn outputs(&self, rows: usize) -> Matrix<'_> {
        Matrix::padded(&self.values, rows, self.shape.len())
    }

    /// Computes the gradients of γ and β.
    pub(super) fn backward(&mut self, isa: Isa, delta: Matrix<'_>) {
        let (channels, sums) = (self.shape.channels, &mut self.sums);
        let [of_factors, of_shifts] = &mut self.gradients;
        let right = Matrix::padded(&self.normalised, delta.rows, delta.columns);
        sums.fill(0.0);
        isa.run(ColumnProducts { left: delta, right, sums });
        of_factors.iter_mut().zip(by_channel(channels, sums)).for_each(|(out, sum)| *out = sum as f32);
        sums.fill(0.0);
        isa.run(ColumnSums { matrix: delta, sums });
        of_shifts.iter_mut().zip(by_channel(channels, sums)).for_each(|(out, sum)| *out = sum as f32);
    }

    /// Applies `rule` to γ and β.
    pub(super) fn apply(&self, isa: Isa, rule: &mut StepRule<'_>, target: &mut [f32]) {
        for (tensor, gradient) in self.gradients.iter().enumerate() {
            let range = self.range(tensor);
            rule.run(isa, Step { at: range.start, target: &mut target[range], gradient });
        }
    }
}

/// Gives each column the value of its channel.
pub(super) fn spread(channels: &[f32], columns: &mut [f32]) {
    let positions = columns.len() / channels.len();
    columns.chunks_exact_mut(positions).zip(channels).for_each(|(columns, value)| columns.fill(*value));
}

/// Returns the sum over the columns of each channel, in order.
pub(super) fn by_channel(channels: usize, columns: &[f32]) -> impl Iterator<Item = f64> {
    let sum = |columns: &[f32]| columns.iter().fold(0.0, |sum, x| sum + f64::from(*x));
    columns.chunks_exact(columns.len() / channels).map(sum)
}
