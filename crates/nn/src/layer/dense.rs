//! A dense layer: outputs = inputs · weight + bias.

use std::ops::Range;

use super::{Layer, LayerTensor, Pass, Shape, Start, TensorRole};
use crate::{
    buffer::{Buffer, grow, padded, zeros},
    isa::Isa,
    kernel::{ColumnMasks, Masks, Matrix, PACKED, Pad, Product, RowMasks, Transpose, WeightGradient, is_narrow},
    rule::{Apply, StepRule, StepUpdate},
};

/// A dense layer with its last outputs and the scratch memory of its products.
#[derive(Debug)]
pub(super) struct Dense {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    /// The index of the weight in the flat buffer; the bias follows the weight.
    offset: usize,
    /// The outputs, shape (batch, padded outputs).
    values: Buffer,
    /// The masks of the inputs; not filled if the layer is narrow.
    masks: Masks,
    /// The masks of the gradient at the outputs; not filled if the inputs are few.
    delta_masks: Masks,
    /// The weight with padded rows; not filled if the outputs are a multiple of the padding.
    padded: Buffer,
    transposed: Buffer,
    bias_gradient: Buffer,
    // Scratch of the kernels.
    packed: Buffer,
    packed_delta: Buffer,
}

impl Dense {
    pub(super) fn new(isa: Isa, inputs: usize, outputs: usize, offset: usize) -> Self {
        Self {
            isa,
            inputs,
            outputs,
            offset,
            values: zeros(0),
            masks: Masks::new(),
            delta_masks: Masks::new(),
            padded: zeros(0),
            transposed: zeros(0),
            bias_gradient: zeros(padded(outputs)),
            packed: zeros(PACKED),
            packed_delta: zeros(0),
        }
    }

    fn weight(&self) -> Range<usize> {
        self.offset..self.offset + self.inputs * self.outputs
    }

    fn bias(&self) -> Range<usize> {
        let start = self.weight().end;
        start..start + self.outputs
    }
}

impl Layer for Dense {
    fn kind(&self) -> &'static str {
        "dense"
    }

    fn shape(&self) -> Shape {
        Shape::flat(self.outputs)
    }

    fn tensors(&self) -> Vec<LayerTensor> {
        let (role, start) = (TensorRole::Weight, Start::He(self.inputs));
        let weight = LayerTensor { field: "weight", shape: vec![self.inputs, self.outputs], role, start };
        vec![weight, LayerTensor { field: "bias", shape: vec![self.outputs], role, start: Start::Fill(0.0) }]
    }

    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>) {
        let isa = self.isa;
        let stride = padded(self.outputs);
        let (weight, bias) = (&pass.weights[self.weight()], &pass.weights[self.bias()]);
        if !is_narrow(stride) {
            isa.run(RowMasks { matrix: inputs, masks: &mut self.masks });
        }
        let len = inputs.rows * stride;
        grow(&mut self.values, len);
        let sum = &mut self.values[..len];
        for row in sum.chunks_exact_mut(stride) {
            row[..self.outputs].copy_from_slice(bias);
            row[self.outputs..].fill(0.0);
        }
        let right = if stride == self.outputs {
            weight
        } else {
            grow(&mut self.padded, self.inputs * stride);
            isa.run(Pad { matrix: Matrix::dense(weight, self.outputs), out: &mut self.padded });
            &self.padded
        };
        let masks = &self.masks;
        let packed = &mut *self.packed;
        Product { left: inputs, masks, right, columns: stride, sum, packed }.run(isa);
    }

    fn outputs(&self, rows: usize) -> Matrix<'_> {
        Matrix::padded(&self.values, rows, self.outputs)
    }

    fn backward(&mut self, pass: &Pass<'_>, _: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>) {
        let Some(sum) = below else { return };
        let columns = padded(self.inputs);
        let weight = Matrix::dense(&pass.weights[self.weight()], self.outputs);
        grow(&mut self.transposed, self.outputs * columns);
        self.isa.run(Transpose { matrix: weight, out: &mut self.transposed });
        if !is_narrow(columns) {
            self.isa.run(RowMasks { matrix: delta, masks: &mut self.delta_masks });
        }
        sum.fill(0.0);
        let masks = &self.delta_masks;
        let right = &*self.transposed;
        let packed = &mut *self.packed;
        Product { left: delta, masks, right, columns, sum, packed }.run(self.isa);
    }

    fn apply(&mut self, rule: &mut StepRule<'_>, target: &mut [f32], inputs: Matrix<'_>, delta: Matrix<'_>) {
        let (weight, bias) = (self.weight(), self.bias());
        if !is_narrow(self.outputs) {
            self.isa.run(ColumnMasks { rows: inputs.rows, columns: inputs.columns, masks: &mut self.masks });
        }
        let masks = &self.masks;
        let offset = weight.start;
        let target = &mut target[weight.start..bias.end];
        let (target, bias_target) = target.split_at_mut(weight.len());
        WeightGradient { left: inputs, masks, right: delta, target, offset, packed: &mut self.packed_delta }
            .run(self.isa, rule);
        let sums = &mut self.bias_gradient;
        let target = bias_target;
        let offset = bias.start;
        rule.run(self.isa, BiasGradient { delta, sums, target, offset });
    }
}

/// The gradient of a bias: the sum over the rows in order, passed to the update. `sums` is scratch memory.
struct BiasGradient<'a> {
    delta: Matrix<'a>,
    sums: &'a mut [f32],
    target: &'a mut [f32],
    offset: usize,
}

impl Apply for BiasGradient<'_> {
    #[inline(always)]
    fn apply<const W: usize, U: StepUpdate>(self, update: &mut U) {
        self.sums.fill(0.0);
        for row in self.delta.values.chunks_exact(self.delta.stride) {
            self.sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        update.slice(self.offset, self.target, &self.sums[..self.delta.columns]);
    }
}
