//! A dense layer: the forward pass, the backward pass, and the step on its weights.

use std::ops::Range;

use crate::{
    buffer::{Buffer, grow, padded, zeros},
    isa::Isa,
    kernel::{
        ColumnMasks, Masks, Matrix, PACKED, Pad, Product, Relu, ReluGradient, RowMasks, Transpose, WeightGradient,
        is_narrow,
    },
    rule::{Apply, StepRule, StepUpdate},
};

/// A dense layer, outputs = inputs · weight + bias, with its last outputs and the scratch memory of its products.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    isa: Isa,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// The index of the weight in the flat buffer; the bias follows the weight.
    offset: usize,
    /// The outputs, shape (batch, padded outputs).
    values: Buffer,
    /// The gradient at the outputs, shape (batch, padded outputs). Between the forward pass and the loss it holds the
    /// inputs of the ReLU.
    delta: Buffer,
    /// The masks of the inputs; not filled if the layer is narrow.
    masks: Masks,
    /// The weight with padded rows; not filled if the outputs are a multiple of the padding.
    padded: Buffer,
    bias_gradient: Buffer,
    // Scratch of the kernels.
    packed: Buffer,
    packed_delta: Buffer,
}

impl Layer {
    pub(crate) fn new(isa: Isa, inputs: usize, outputs: usize, offset: usize) -> Self {
        Self {
            isa,
            inputs,
            outputs,
            offset,
            values: zeros(0),
            delta: zeros(0),
            masks: Masks::new(),
            padded: zeros(0),
            bias_gradient: zeros(padded(outputs)),
            packed: zeros(PACKED),
            packed_delta: zeros(0),
        }
    }

    pub(crate) fn weight(&self) -> Range<usize> {
        self.offset..self.offset + self.inputs * self.outputs
    }

    pub(crate) fn bias(&self) -> Range<usize> {
        let start = self.weight().end;
        start..start + self.outputs
    }

    /// Returns the outputs of the last forward pass over `rows` examples.
    pub(crate) fn values(&self, rows: usize) -> Matrix<'_> {
        let stride = padded(self.outputs);
        Matrix { values: &self.values[..rows * stride], stride, rows, columns: self.outputs }
    }

    /// Returns the gradient at the outputs for `rows` examples, padded with zeros.
    ///
    /// After a forward pass it holds the outputs before the ReLU, which the loss replaces by the gradient.
    pub(crate) fn delta(&mut self, rows: usize) -> &mut [f32] {
        &mut self.delta[..rows * padded(self.outputs)]
    }

    /// Computes the outputs from `inputs`, with a ReLU if `relu`.
    pub(crate) fn forward(&mut self, weights: &[f32], inputs: Matrix<'_>, relu: bool) {
        let isa = self.isa;
        let stride = padded(self.outputs);
        let (weight, bias) = (&weights[self.weight()], &weights[self.bias()]);
        if !is_narrow(stride) {
            isa.run(RowMasks { matrix: inputs, masks: &mut self.masks });
        }
        let len = inputs.rows * stride;
        grow(&mut self.values, len);
        grow(&mut self.delta, len);
        let (values, sum) = (&mut self.values[..len], &mut self.delta[..len]);
        for row in sum.chunks_exact_mut(stride) {
            row[..self.outputs].copy_from_slice(bias);
            row[self.outputs..].fill(0.0);
        }
        let right = if stride == self.outputs {
            weight
        } else {
            grow(&mut self.padded, self.inputs * stride);
            isa.run(Pad { matrix: rows(weight, self.outputs), out: &mut self.padded });
            &self.padded
        };
        let masks = &self.masks;
        let packed = &mut *self.packed;
        Product { left: inputs, masks, right, columns: stride, sum, packed }.run(isa);
        if relu { isa.run(Relu { inputs: sum, outputs: values }) } else { values.copy_from_slice(sum) }
    }

    /// Applies `rule` to the part of this layer in `target`, the whole flat buffer. The gradient follows from the delta
    /// and `inputs`, the inputs of the last forward pass.
    pub(crate) fn apply(&mut self, rule: &mut StepRule<'_>, target: &mut [f32], inputs: Matrix<'_>) {
        let (weight, bias) = (self.weight(), self.bias());
        let stride = padded(self.outputs);
        let values = &self.delta[..inputs.rows * stride];
        let delta = Matrix { values, stride, rows: inputs.rows, columns: self.outputs };
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

/// The backward pass through a layer, with scratch memory that all layers of a network share.
#[derive(Debug, Clone)]
pub(crate) struct Backward {
    isa: Isa,
    /// The masks of the delta; not filled if the layer below is narrow.
    masks: Masks,
    transposed: Buffer,
    /// The gradient after the ReLU.
    after: Buffer,
    packed: Buffer,
}

impl Backward {
    pub(crate) fn new(isa: Isa) -> Self {
        Self { isa, masks: Masks::new(), transposed: zeros(0), after: zeros(0), packed: zeros(PACKED) }
    }

    /// Computes the delta of `below`, a layer with a ReLU, from the delta of the layer `above`.
    pub(crate) fn run(&mut self, below: &mut Layer, above: &Layer, weights: &[f32], batch: usize) {
        let (columns, stride) = (padded(below.outputs), padded(above.outputs));
        let delta = Matrix { values: &above.delta[..batch * stride], stride, rows: batch, columns: above.outputs };
        grow(&mut self.transposed, above.outputs * columns);
        self.isa.run(Transpose { matrix: rows(&weights[above.weight()], above.outputs), out: &mut self.transposed });
        if !is_narrow(columns) {
            self.isa.run(RowMasks { matrix: delta, masks: &mut self.masks });
        }
        let len = batch * columns;
        grow(&mut self.after, len);
        let sum = &mut self.after[..len];
        sum.fill(0.0);
        let masks = &self.masks;
        let right = &*self.transposed;
        let packed = &mut *self.packed;
        Product { left: delta, masks, right, columns, sum, packed }.run(self.isa);
        let (outputs, before) = (&below.values[..len], &mut below.delta[..len]);
        self.isa.run(ReluGradient { outputs, after: sum, before });
    }
}

fn rows(values: &[f32], columns: usize) -> Matrix<'_> {
    Matrix { values, stride: columns, rows: values.len() / columns, columns }
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
