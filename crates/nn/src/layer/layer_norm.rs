//! Layer norm: each example is normalised over all of its values (Ba 2016, eq. 4).
//!
//! The factor and the shift belong to a channel, so that on images it is PyTorch's `GroupNorm` with one group.

use super::{
    Layer, LayerTensor, Pass, Shape,
    norm::{Affine, EPSILON},
};
use crate::{
    isa::Isa,
    kernel::{Matrix, NormaliseRows, RowsGradient},
    rule::StepRule,
};

/// A layer norm with its last outputs.
#[derive(Debug)]
pub(super) struct LayerNorm {
    isa: Isa,
    affine: Affine,
    /// 1 / √(variance + ε) of each example.
    inverses: Vec<f32>,
}

impl LayerNorm {
    pub(super) fn new(isa: Isa, shape: Shape, offset: usize) -> Self {
        Self { isa, affine: Affine::new(shape, offset), inverses: Vec::new() }
    }
}

impl Layer for LayerNorm {
    fn kind(&self) -> &'static str {
        "norm"
    }

    fn shape(&self) -> Shape {
        self.affine.shape()
    }

    fn tensors(&self) -> Vec<LayerTensor> {
        self.affine.tensors()
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        self.inverses.resize(inputs.rows, 0.0);
        let (out, inverses) = (self.affine.normalised(inputs.rows), &mut self.inverses);
        self.isa.run(NormaliseRows { inputs, epsilon: EPSILON, out, inverses });
        self.affine.forward(self.isa, pass.weights, inputs.rows);
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        self.affine.outputs(rows)
    }

    fn backward(&mut self, _: &Pass<'_>, _: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        self.affine.backward(self.isa, delta);
        if let Some(below) = below {
            let normalised = Matrix::padded(&self.affine.normalised, delta.rows, delta.columns);
            let (factors, inverses) = (&self.affine.factors, &self.inverses);
            self.isa.run(RowsGradient { delta, normalised, factors, inverses, below });
        }
    }

    fn apply(&mut self, rule: &mut StepRule<'_>, target: &mut [f32], _: Matrix<'_>, _: Matrix<'_>) {
        self.affine.apply(self.isa, rule, target);
    }
}
