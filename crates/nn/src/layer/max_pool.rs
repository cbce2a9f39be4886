//! Max-pooling: the maximum of each square of an image.

use super::{Layer, Pass, Shape};
use crate::{
    buffer::{Buffer, grow, padded, zeros},
    error::{Error, Result},
    kernel::{Matrix, Pool, PoolGradient, Squares},
};

/// Max-pooling with its last outputs.
#[derive(Debug)]
pub(super) struct MaxPool {
    squares: Squares,
    values: Buffer,
}

impl MaxPool {
    pub(super) fn new(image: Shape, side: usize) -> Result<Self> {
        if side == 0 || side > image.height || side > image.width {
            let Shape { height, width, .. } = image;
            return Err(Error::new(format!("a square of {side}×{side} pixels does not fit into {height}×{width}")));
        }
        Ok(Self { squares: Squares { image, side }, values: zeros(0) })
    }
}

impl Layer for MaxPool {
    fn kind(&self) -> &'static str {
        "pool"
    }

    fn shape(&self) -> Shape {
        self.squares.out()
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        let (squares, len) = (self.squares, self.shape().len());
        grow(&mut self.values, inputs.rows * padded(len));
        for (row, out) in self.values.chunks_exact_mut(padded(len)).take(inputs.rows).enumerate() {
            pass.isa.run(Pool { squares, image: inputs.row(row), out: &mut out[..len] });
        }
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        Matrix::padded(&self.values, rows, self.shape().len())
    }

    fn backward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        let Some(below) = below else { return };
        for (row, gradient) in below.chunks_exact_mut(padded(inputs.columns)).enumerate() {
            let (squares, image, delta) = (self.squares, inputs.row(row), delta.row(row));
            let maxima = self.outputs(row + 1).row(row);
            pass.isa.run(PoolGradient { squares, image, maxima, delta, gradient });
        }
    }
}
