//! A convolution: a product of the weight with the patches of each image.

use std::ops::Range;

use super::{Layer, LayerTensor, Pass, Shape, Start, TensorRole};
use crate::{
    buffer::{Buffer, grow, padded, zeros},
    error::{Error, Result},
    isa::Isa,
    kernel::{AddPatches, Masks, Matrix, PACKED, Pad, Patches, Product, RowMasks, Transpose, Window, is_narrow},
    math,
    rule::{Step, StepRule},
};

/// A convolution with its last outputs and the scratch memory of its products. Images are treated one by one, so that
/// the patches of one of them stay in the caches.
#[derive(Debug)]
pub(super) struct Conv {
    isa: Isa,
    window: Window,
    /// The number of channels of the outputs.
    channels: usize,
    /// The index of the weight in the flat buffer; the bias follows the weight.
    offset: usize,
    /// The outputs, shape (batch, padded (channels, positions)).
    values: Buffer,
    scratch: Scratch,
    /// The gradient of the weight, shape (channels, padded taps).
    gradient: Buffer,
    bias_gradient: Vec<f32>,
}

#[derive(Debug)]
struct Scratch {
    masks: Masks,
    /// The patches of an image or the gradient at them, shape (taps, padded positions).
    patches: Buffer,
    /// The transpose of the patches, or of the weight.
    transposed: Buffer,
    /// Outputs of an image or the gradient at them, shape (channels, padded positions).
    image: Buffer,
    packed: Buffer,
}

impl Conv {
    pub(super) fn new(isa: Isa, image: Shape, channels: usize, side: usize, offset: usize) -> Result<Self> {
        if side == 0 || side > image.height || side > image.width {
            let Shape { height, width, .. } = image;
            return Err(Error::new(format!("a kernel of {side}×{side} does not fit into {height}×{width} pixels")));
        }
        let window = Window { image, side };
        let scratch = Scratch {
            masks: Masks::new(),
            patches: zeros(window.taps() * padded(window.positions())),
            transposed: zeros(0),
            image: zeros(channels * padded(window.positions())),
            packed: zeros(PACKED),
        };
        let gradient = zeros(channels * padded(window.taps()));
        let bias_gradient = vec![0.0; channels];
        Ok(Self { isa, window, channels, offset, values: zeros(0), scratch, gradient, bias_gradient })
    }

    fn weight(&self) -> Range<usize> {
        self.offset..self.offset + self.channels * self.window.taps()
    }

    fn bias(&self) -> Range<usize> {
        let start = self.weight().end;
        start..start + self.channels
    }

    /// Adds the gradients of one image to those of the weight and the bias.
    fn add_gradient(&mut self, image: &[f32], delta: &[f32]) {
        let (isa, window, positions) = (self.isa, self.window, self.window.positions());
        let Scratch { masks, patches, transposed, packed, .. } = &mut self.scratch;
        isa.run(Patches { window, image, out: patches });
        let columns = padded(window.taps());
        let rows = Matrix::padded(patches, window.taps(), positions);
        grow(transposed, positions * columns);
        isa.run(Transpose { matrix: rows, out: transposed });
        let left = Matrix::dense(delta, positions);
        if !is_narrow(columns) {
            isa.run(RowMasks { matrix: left, masks });
        }
        Product { left, masks, right: transposed, columns, sum: &mut self.gradient, packed }.run(isa);
        let sums = self.bias_gradient.iter_mut().zip(delta.chunks_exact(positions));
        sums.for_each(|(sum, delta)| *sum += math::sum(delta));
    }
}

impl Layer for Conv {
    fn kind(&self) -> &'static str {
        "conv"
    }

    fn shape(&self) -> Shape {
        Shape::image(self.channels, self.window.out_height(), self.window.out_width())
    }

    fn tensors(&self) -> Vec<LayerTensor> {
        let Window { image, side } = self.window;
        let (role, shape) = (TensorRole::Weight, vec![self.channels, image.channels, side, side]);
        let weight = LayerTensor { field: "weight", shape, role, start: Start::He(self.window.taps()) };
        vec![weight, LayerTensor { field: "bias", shape: vec![self.channels], role, start: Start::Fill(0.0) }]
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        let (isa, window, positions) = (self.isa, self.window, self.window.positions());
        let (columns, stride) = (padded(positions), padded(self.channels * positions));
        let left = Matrix::dense(&pass.weights[self.weight()], window.taps());
        let bias = &pass.weights[self.bias()];
        let Scratch { masks, patches, image, packed, .. } = &mut self.scratch;
        if !is_narrow(columns) {
            isa.run(RowMasks { matrix: left, masks });
        }
        grow(&mut self.values, inputs.rows * stride);
        for (row, out) in self.values.chunks_exact_mut(stride).take(inputs.rows).enumerate() {
            isa.run(Patches { window, image: inputs.row(row), out: patches });
            image.chunks_exact_mut(columns).zip(bias).for_each(|(row, bias)| row.fill(*bias));
            Product { left, masks, right: patches, columns, sum: image, packed }.run(isa);
            let planes = out.chunks_exact_mut(positions).zip(image.chunks_exact(columns));
            planes.for_each(|(out, plane)| out.copy_from_slice(&plane[..positions]));
        }
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        Matrix::padded(&self.values, rows, self.channels * self.window.positions())
    }

    fn backward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        let Some(below) = below else { return };
        let (isa, window, positions) = (self.isa, self.window, self.window.positions());
        let columns = padded(positions);
        let weight = Matrix::dense(&pass.weights[self.weight()], window.taps());
        let Scratch { masks, patches, transposed, image, packed } = &mut self.scratch;
        grow(transposed, window.taps() * padded(self.channels));
        isa.run(Transpose { matrix: weight, out: transposed });
        let left = Matrix::padded(transposed, window.taps(), self.channels);
        if !is_narrow(columns) {
            isa.run(RowMasks { matrix: left, masks });
        }
        for (row, below) in below.chunks_exact_mut(padded(inputs.columns)).enumerate() {
            isa.run(Pad { matrix: Matrix::dense(delta.row(row), positions), out: image });
            patches.fill(0.0);
            Product { left, masks, right: image, columns, sum: patches, packed }.run(isa);
            let (pixels, padding) = below.split_at_mut(inputs.columns);
            isa.run(AddPatches { window, patches, image: pixels });
            padding.fill(0.0);
        }
    }

    fn apply(&mut self, rule: &mut StepRule<'_>, target: &mut [f32], inputs: Matrix<'_>, delta: Matrix<'_>) {
        self.gradient.fill(0.0);
        self.bias_gradient.fill(0.0);
        for row in 0..inputs.rows {
            self.add_gradient(inputs.row(row), delta.row(row));
        }
        let taps = self.window.taps();
        let weights = target[self.weight()].chunks_exact_mut(taps).zip(self.gradient.chunks_exact(padded(taps)));
        for ((target, gradient), channel) in weights.zip(0..) {
            rule.run(self.isa, Step { at: self.offset + channel * taps, target, gradient: &gradient[..taps] });
        }
        let bias = self.bias();
        let gradient = &self.bias_gradient;
        rule.run(self.isa, Step { at: bias.start, target: &mut target[bias], gradient });
    }
}
