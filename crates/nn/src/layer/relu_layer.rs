//! ReLU.

use super::{Layer, Pass, Shape, aligned};
use crate::{
    buffer::{Buffer, grow, padded, zeros},
    kernel::{Matrix, Relu, ReluGradient},
};

/// A ReLU with its last outputs.
#[derive(Debug)]
pub(super) struct ReluLayer {
    shape: Shape,
    values: Buffer,
}

impl ReluLayer {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, values: zeros(0) }
    }
}

impl Layer for ReluLayer {
    fn kind(&self) -> &'static str {
        "relu"
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        let stride = padded(inputs.columns);
        grow(&mut self.values, inputs.rows * stride);
        for (inputs, outputs) in aligned(inputs, &mut self.values, stride) {
            pass.isa.run(Relu { inputs, outputs });
        }
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        Matrix::padded(&self.values, rows, self.shape.len())
    }

    fn backward(&mut self, pass: &Pass<'_>, _: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        if let Some(before) = below {
            let outputs = &self.values[..delta.values.len()];
            pass.isa.run(ReluGradient { outputs, after: delta.values, before });
        }
    }
}
