//! Batch norm: each channel is normalised over the batch (Ioffe 2015, Alg. 1), with the rules of PyTorch.

use std::ops::Range;

use super::{
    Layer, LayerTensor, Pass, Shape, TensorRole,
    norm::{Affine, EPSILON, by_channel, spread},
};
use crate::{
    isa::Isa,
    kernel::{ColumnProducts, ColumnSums, ColumnsGradient, Matrix, ScaleColumns},
    rule::StepRule,
};

/// The share of a batch in the new running statistics.
const SHARE: f32 = 0.1;

/// A batch norm with its last outputs.
#[derive(Debug)]
pub(super) struct BatchNorm {
    isa: Isa,
    affine: Affine,
    /// The mean and the biased variance of each channel in the last batch.
    moments: [Vec<f32>; 2],
    /// The number of values of a channel in the last batch; 0 if the running statistics were used.
    count: usize,
    /// 1 / √(variance + ε) of each channel.
    inverses: Vec<f32>,
    /// Scratch: values of all columns.
    columns: [Vec<f32>; 3],
}

impl BatchNorm {
    pub(super) fn new(isa: Isa, shape: Shape, offset: usize) -> Self {
        let channels = || vec![0.0; shape.channels];
        let columns = || vec![0.0; shape.len()];
        Self {
            isa,
            affine: Affine::new(shape, offset),
            moments: [channels(), channels()],
            count: 0,
            inverses: channels(),
            columns: [columns(), columns(), columns()],
        }
    }

    /// Computes the mean and the variance of each channel in a batch, in two passes.
    fn measure(&mut self, inputs: Matrix<'_>) {
        let (channels, sums) = (self.moments[0].len(), &mut self.affine.sums);
        let count = self.count as f64;
        let means = &mut self.moments[0];
        sums.fill(0.0);
        self.isa.run(ColumnSums { matrix: inputs, sums });
        means.iter_mut().zip(by_channel(channels, sums)).for_each(|(mean, sum)| *mean = (sum / count) as f32);
        self.inverses.fill(1.0);
        self.centre(inputs);
        let left = Matrix::padded(&self.affine.normalised, inputs.rows, inputs.columns);
        let (variances, sums) = (&mut self.moments[1], &mut self.affine.sums);
        sums.fill(0.0);
        self.isa.run(ColumnProducts { left, right: left, sums });
        variances.iter_mut().zip(by_channel(channels, sums)).for_each(|(out, sum)| *out = (sum / count) as f32);
    }

    /// Writes the distances from the means, each times the inverse of its channel.
    fn centre(&mut self, inputs: Matrix<'_>) {
        let [centres, factors, _] = &mut self.columns;
        spread(&self.moments[0], centres);
        spread(&self.inverses, factors);
        self.affine.normalised(inputs.rows);
        let (out, shifts) = (&mut *self.affine.normalised, &*self.affine.zeros);
        self.isa.run(ScaleColumns { inputs, centres, factors, shifts, out });
    }
}

impl Layer for BatchNorm {
    fn kind(&self) -> &'static str {
        "norm"
    }

    fn shape(&self) -> Shape {
        self.affine.shape()
    }

    fn tensors(&self) -> Vec<LayerTensor> {
        let statistic = |field, start| self.affine.tensor(field, TensorRole::Statistic, start);
        let mut tensors = self.affine.tensors();
        tensors.extend([statistic("running_mean", 0.0), statistic("running_var", 1.0)]);
        tensors
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        let count = inputs.rows * self.affine.shape().positions();
        // One value has no variance.
        self.count = if pass.training.is_some() && count > 1 { count } else { 0 };
        if self.count > 0 {
            self.measure(inputs);
        } else {
            let ranges = [2, 3].map(|tensor| self.affine.range(tensor));
            self.moments.iter_mut().zip(ranges).for_each(|(out, range)| out.copy_from_slice(&pass.weights[range]));
        }
        let inverses = self.inverses.iter_mut().zip(&self.moments[1]);
        inverses.for_each(|(out, variance)| *out = 1.0 / (variance + EPSILON).sqrt());
        self.centre(inputs);
        self.affine.forward(self.isa, pass.weights, inputs.rows);
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        self.affine.outputs(rows)
    }

    fn backward(&mut self, _: &Pass<'_>, _: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        self.affine.backward(self.isa, delta);
        let Some(below) = below else { return };
        let [factors, means, along] = &mut self.columns;
        spread(&self.inverses, factors);
        factors.iter_mut().zip(&self.affine.factors).for_each(|(out, factor)| *out *= factor);
        // The running statistics do not depend on the inputs.
        let share = if self.count > 0 { 1.0 / self.count as f32 } else { 0.0 };
        let [of_factors, of_shifts] = &self.affine.gradients;
        for (columns, gradients) in [(&mut *means, of_shifts), (&mut *along, of_factors)] {
            spread(gradients, columns);
            columns.iter_mut().for_each(|value| *value *= share);
        }
        let normalised = Matrix::padded(&self.affine.normalised, delta.rows, delta.columns);
        self.isa.run(ColumnsGradient { delta, normalised, factors, means, along, below });
    }

    fn apply(&mut self, rule: &mut StepRule<'_>, target: &mut [f32], _: Matrix<'_>, _: Matrix<'_>) {
        self.affine.apply(self.isa, rule, target);
    }

    fn move_statistics(&self, weights: &mut [f32], frozen: &[Range<usize>]) {
        if self.count == 0 {
            return;
        }
        let unbiased = (self.count as f64 / (self.count as f64 - 1.0)) as f32;
        for (tensor, values, factor) in [(2, &self.moments[0], 1.0), (3, &self.moments[1], unbiased)] {
            let range = self.affine.range(tensor);
            if frozen.iter().any(|frozen| frozen.start <= range.start && range.end <= frozen.end) {
                continue;
            }
            let running = weights[range].iter_mut().zip(values);
            running.for_each(|(running, value)| *running = SHARE.mul_add(factor * value - *running, *running));
        }
    }
}
