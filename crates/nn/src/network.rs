//! A network: a stack of dense layers with its loss.

use ndarray::{ArrayView1, ArrayView2, s};

use crate::{
    buffer::{Buffer, grow, padded, zeros},
    error::{Error, Result},
    init,
    isa::Isa,
    kernel::Matrix,
    layer::{Backward, Layer},
    loss::{CrossEntropy, ExampleTarget, Score, SquaredError, Targets},
    optimiser::Optimiser,
    rule::{StepRule, Store},
};

/// A stack of dense layers with ReLU between them and a loss at the end, with its scratch memory.
///
/// The caller owns the weights. A batch takes two calls: fill [`Network::inputs`], then call [`Network::step`],
/// [`Network::gradient`], [`Network::score`] or [`Network::logits`]. A batch allocates memory only if it is the largest
/// so far. Targets of type `u32` are labels and choose softmax cross-entropy; targets of type `f32` choose the squared
/// error.
///
/// ```
/// let mut network = fedpipe_nn::Network::new(&[2, 8, 2])?;
/// let mut optimiser = fedpipe_nn::Optimiser::new()?;
/// let mut weights = network.init(42);
/// for _ in 0..100 {
///     network.inputs(4).copy_from_slice(&[0., 0., 0., 1., 1., 0., 1., 1.]);
///     network.step(&mut weights, [0, 1, 1, 0], &mut optimiser, 0.5)?;
/// }
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Network {
    isa: Isa,
    layers: Vec<Layer>,
    inputs: Buffer,
    /// The number of examples in `inputs`.
    batch: usize,
    targets: Targets,
    backward: Backward,
}

impl Network {
    /// Returns a network from `widths`: the number of inputs, the widths of the hidden layers, the number of outputs:
    /// classes, or 1 for a real target.
    ///
    /// # Errors
    /// Fewer than two widths, or a width that is 0 or above 2³⁰; the errors of [`Isa::current`].
    pub fn new(widths: &[usize]) -> Result<Self> {
        Self::on(Isa::current()?, widths)
    }

    pub(crate) fn on(isa: Isa, widths: &[usize]) -> Result<Self> {
        // Kernels count columns by u32.
        if widths.len() < 2 || widths.iter().any(|&width| width == 0 || width > 1 << 30) {
            return Err(Error::new(format!("a network needs two or more widths from 1 to 2^30, but got {widths:?}")));
        }
        let mut layers = Vec::with_capacity(widths.len() - 1);
        let mut offset = 0;
        for pair in widths.windows(2) {
            layers.push(Layer::new(isa, pair[0], pair[1], offset));
            offset += pair[0] * pair[1] + pair[1];
        }
        let inputs = zeros(0);
        let targets = Targets::Classes(Vec::new());
        let backward = Backward::new(isa);
        Ok(Self { isa, layers, inputs, batch: 0, targets, backward })
    }

    /// Returns the named tensors of the flat weights, in order: `dense1.weight` with shape (inputs, outputs),
    /// `dense1.bias` with shape (outputs), `dense2.weight`, …
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.layers.iter().zip(1..).flat_map(|(layer, n)| {
            let weight = (format!("dense{n}.weight"), vec![layer.inputs, layer.outputs]);
            [weight, (format!("dense{n}.bias"), vec![layer.outputs])]
        })
    }

    /// Returns the number of weights.
    pub fn weight_count(&self) -> usize {
        self.last().bias().end
    }

    /// Returns initial weights: He's normal distribution for tensors 0, 2, … of the layout ([`init::he_normal`]), and 0
    /// for the biases.
    pub fn init(&self, seed: u64) -> Buffer {
        let mut weights = zeros(self.weight_count());
        for (layer, n) in self.layers.iter().zip(0..) {
            init::he_normal(&mut weights[layer.weight()], layer.inputs, seed, 2 * n);
        }
        weights
    }

    /// Returns the memory for the inputs of the next batch, shape (batch, inputs), row-major, which the caller fills.
    pub fn inputs(&mut self, batch: usize) -> &mut [f32] {
        self.batch = batch;
        let len = batch * self.layers[0].inputs;
        grow(&mut self.inputs, len);
        &mut self.inputs[..len]
    }

    /// Scores the inputs against `targets`, one for each example.
    ///
    /// # Errors
    /// A number of targets that is not the number of inputs, a label that is no class, or a real target for more than
    /// one output.
    ///
    /// # Panics
    /// Panics if the length of `weights` is not [`Network::weight_count`]. The methods below panic as well.
    pub fn score(&mut self, weights: &[f32], targets: impl IntoIterator<Item = impl ExampleTarget>) -> Result<Score> {
        ExampleTarget::fill(&mut self.targets, targets.into_iter());
        self.targets.check(self.batch, self.last().outputs)?;
        self.forward(weights);
        Ok(self.loss())
    }

    /// Scores as [`Network::score`] does, and fills `gradient` with the gradient of the mean loss, in the order of the
    /// weights.
    ///
    /// # Errors
    /// Returns the errors of [`Network::score`].
    pub fn gradient(
        &mut self,
        weights: &[f32],
        targets: impl IntoIterator<Item = impl ExampleTarget>,
        gradient: &mut [f32],
    ) -> Result<Score> {
        let score = self.score(weights, targets)?;
        self.backward(Target::Gradient { weights, gradient });
        Ok(score)
    }

    /// Scores as [`Network::score`] does, and makes one step of `optimiser` at the learning rate `rate`.
    ///
    /// The bits are those of [`Network::gradient`] and then [`Optimiser::step`]. The fused step is faster, since each
    /// stretch of the gradient changes its weights as soon as it is finished, and is never stored.
    ///
    /// # Errors
    /// Returns the errors of [`Network::score`].
    pub fn step(
        &mut self,
        weights: &mut [f32],
        targets: impl IntoIterator<Item = impl ExampleTarget>,
        optimiser: &mut Optimiser,
        rate: f32,
    ) -> Result<Score> {
        let score = self.score(weights, targets)?;
        self.backward(Target::Weights { weights, rule: optimiser.next_rule(rate) });
        Ok(score)
    }

    /// Returns the logits of the inputs, shape (batch, classes), or their predictions of a real target, shape (batch,
    /// 1), as a view of the padded rows of the last layer.
    pub fn logits(&mut self, weights: &[f32]) -> ArrayView2<'_, f32> {
        self.forward(weights);
        self.outputs()
    }

    /// Returns what [`Network::logits`] would, for the weights of the last call that scored the inputs.
    pub fn outputs(&self) -> ArrayView2<'_, f32> {
        let Matrix { values, stride, rows, columns } = self.last().values(self.batch);
        let padded = ArrayView1::from(values).into_shape_with_order((rows, stride));
        padded.expect("a layer holds whole rows").slice_move(s![.., ..columns])
    }

    fn last(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }

    fn forward(&mut self, weights: &[f32]) {
        assert_eq!(weights.len(), self.weight_count(), "weights of a network");
        let last = self.layers.len() - 1;
        for l in 0..=last {
            let (below, layer) = self.layers.split_at_mut(l);
            let inputs = inputs_of(&layer[0], below, &self.inputs, self.batch);
            layer[0].forward(weights, inputs, l < last);
        }
    }

    /// Scores the outputs, and leaves their gradient in the last layer.
    fn loss(&mut self) -> Score {
        let last = self.layers.len() - 1;
        let layer = &mut self.layers[last];
        let (classes, stride) = (layer.outputs, padded(layer.outputs));
        let outputs = layer.delta(self.batch);
        match &self.targets {
            Targets::Classes(labels) => self.isa.run(CrossEntropy { logits: outputs, stride, classes, labels }),
            Targets::Real(targets) => self.isa.run(SquaredError { outputs, stride, targets }),
        }
    }

    /// Passes the gradient from the last layer to the first, and applies each layer's gradient to `target`.
    fn backward(&mut self, mut target: Target<'_>) {
        for l in (0..self.layers.len()).rev() {
            let (below, layer) = self.layers.split_at_mut(l);
            // The gradient at the layer below needs the weights before their step.
            if let Some(below) = below.last_mut() {
                self.backward.run(below, &layer[0], target.weights(), self.batch);
            }
            let inputs = inputs_of(&layer[0], below, &self.inputs, self.batch);
            match &mut target {
                Target::Gradient { gradient, .. } => layer[0].apply(&mut StepRule::Store(Store), gradient, inputs),
                Target::Weights { weights, rule } => layer[0].apply(rule, weights, inputs),
            }
        }
    }
}

/// The buffer that the backward pass writes: the gradient, or the weights by a rule.
enum Target<'a> {
    Gradient { weights: &'a [f32], gradient: &'a mut [f32] },
    Weights { weights: &'a mut [f32], rule: StepRule<'a> },
}

impl Target<'_> {
    fn weights(&self) -> &[f32] {
        match self {
            Target::Gradient { weights, .. } => weights,
            Target::Weights { weights, .. } => weights,
        }
    }
}

fn inputs_of<'a>(layer: &Layer, below: &'a [Layer], inputs: &'a [f32], rows: usize) -> Matrix<'a> {
    let columns = layer.inputs;
    match below.last() {
        Some(below) => below.values(rows),
        None => Matrix { values: &inputs[..rows * columns], stride: columns, rows, columns },
    }
}

#[cfg(test)]
mod tests;
