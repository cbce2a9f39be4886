//! Dropout (Srivastava 2014), scaled in training so that an evaluation changes nothing.

use fedpipe_random::key::{Key, Use, unit};

use super::{Layer, Pass, Shape, StepKey, TrainKey};
use crate::{
    buffer::{Buffer, grow, padded, zeros},
    error::{Error, Result},
    kernel::Matrix,
};

/// Dropout with its last outputs. Nothing is kept between steps: the key of a step decides all of its choices.
#[derive(Debug)]
pub(super) struct Dropout {
    shape: Shape,
    rate: f32,
    /// The number of dropouts before this one.
    number: u32,
    values: Buffer,
    /// The factor of each value, 0 or 1 / (1 − rate), of the shape of the outputs; the padding is 0.
    factors: Buffer,
}

impl Dropout {
    pub(super) fn new(shape: Shape, rate: f32, number: usize) -> Result<Self> {
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::new(format!("a dropout rate must be at least 0 and below 1, but got {rate}")));
        }
        Ok(Self { shape, rate, number: number as u32, values: zeros(0), factors: zeros(0) })
    }

    /// Draws the factors for `rows` examples, in row-major order.
    fn draw(&mut self, key: StepKey, rows: usize) {
        let StepKey { epoch, step } = key;
        let TrainKey { seed, client, round, epoch } = epoch;
        let mut stream = Key { seed, purpose: Use::Dropout, client, round, epoch }.step_rng(step, self.number);
        let (columns, rate, kept) = (self.shape.len(), f64::from(self.rate), 1.0 / (1.0 - self.rate));
        for row in self.factors.chunks_exact_mut(padded(columns)).take(rows) {
            row[..columns].fill_with(|| if unit(&mut stream) < rate { 0.0 } else { kept });
        }
    }
}

impl Layer for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        let (columns, stride) = (inputs.columns, padded(inputs.columns));
        grow(&mut self.values, inputs.rows * stride);
        grow(&mut self.factors, inputs.rows * stride);
        match pass.training {
            Some(key) => self.draw(key, inputs.rows),
            None => self.factors.chunks_exact_mut(stride).take(inputs.rows).for_each(|row| row[..columns].fill(1.0)),
        }
        for (row, out) in self.values.chunks_exact_mut(stride).take(inputs.rows).enumerate() {
            multiply(inputs.row(row), &self.factors[row * stride..], out);
        }
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        Matrix::padded(&self.values, rows, self.shape.len())
    }

    fn backward(&mut self, _: &Pass<'_>, _: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        if let Some(below) = below {
            multiply(delta.values, &self.factors, below);
        }
    }
}

/// Writes `values` times `factors`. A value with the factor 0 becomes 0, also one that is not finite.
fn multiply(values: &[f32], factors: &[f32], out: &mut [f32]) {
    for ((out, value), factor) in out.iter_mut().zip(values).zip(factors) {
        *out = if *factor == 0.0 { 0.0 } else { value * factor };
    }
}
