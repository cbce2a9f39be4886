//! A network: a stack of layers with its loss.

use std::{mem, ops::Range};

use ndarray::{ArrayView1, ArrayView2, s};

use crate::{
    buffer::{Buffer, grow, padded, zeros},
    error::{Error, Result},
    isa::Isa,
    kernel::Matrix,
    layer::{Layer, LayerSpec, LayerTensor, Pass, Shape, StepKey, TensorRole, TrainKey, is_width},
    loss::{BatchTargets, CrossEntropy, ExampleTarget, Score, SquaredError},
    optimiser::Optimiser,
    rule::{StepRule, Store},
};

/// A stack of layers with a loss at the end, and its scratch memory.
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
#[derive(Debug)]
pub struct Network {
    isa: Isa,
    shape: Shape,
    layers: Vec<Box<dyn Layer>>,
    /// The tensors of all layers, in the order in which they lie in the flat weights.
    tensors: Vec<LayerTensor>,
    /// The names of the tensors.
    names: Vec<String>,
    inputs: Buffer,
    /// The number of examples in `inputs`.
    batch: usize,
    targets: BatchTargets,
    /// The key of the next training step; none before the first epoch.
    next: Option<StepKey>,
    has_dropout: bool,
    /// The gradients at the outputs of two neighbouring layers.
    deltas: [Buffer; 2],
}

/// A tensor of a network: a name such as `dense1.weight`, a shape and a role.
///
/// ```
/// let network = fedpipe_nn::Network::new(&[784, 10])?;
/// let weight = &network.tensors()[0];
/// assert_eq!((weight.name.as_str(), &weight.shape[..]), ("dense1.weight", &[784, 10][..]));
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTensor {
    /// The kind of the layer, its number among the layers of this kind, and the name within the layer.
    pub name: String,
    /// The shape; values are row-major.
    pub shape: Vec<usize>,
    /// The role, which tells whether a gradient trains the tensor.
    pub role: TensorRole,
}

impl Network {
    /// Returns dense layers with ReLU between them, from `widths`: the number of inputs, the widths of the hidden
    /// layers, the number of outputs: classes, or 1 for a real target.
    ///
    /// # Errors
    /// Fewer than two widths, or a width that is 0 or above 2³⁰; the errors of [`Isa::current`].
    pub fn new(widths: &[usize]) -> Result<Self> {
        Self::on(Isa::current()?, widths)
    }

    pub(crate) fn on(isa: Isa, widths: &[usize]) -> Result<Self> {
        if widths.len() < 2 || widths.iter().any(|&width| !is_width(width)) {
            return Err(Error::new(format!("a network needs two or more widths from 1 to 2^30, but got {widths:?}")));
        }
        let dense = widths[1..].iter().map(|&outputs| LayerSpec::Dense { outputs });
        let layers: Vec<_> = dense.flat_map(|dense| [LayerSpec::Relu, dense]).skip(1).collect();
        Self::stack_on(isa, Shape::flat(widths[0]), &layers)
    }

    /// Returns a network of any layers. The last one has an output for each class.
    ///
    /// # Errors
    /// No layer; a shape without values or with more than 2³⁰; a layer that does not suit its inputs; the errors of
    /// [`Isa::current`].
    pub fn stack(inputs: Shape, layers: &[LayerSpec]) -> Result<Self> {
        Self::stack_on(Isa::current()?, inputs, layers)
    }

    pub(crate) fn stack_on(isa: Isa, inputs: Shape, specs: &[LayerSpec]) -> Result<Self> {
        let first = specs.first().ok_or_else(|| Error::new("a network needs a layer, but got none"))?;
        first.check_order(inputs)?;
        let (mut shape, mut layers, mut tensors, mut names) = (inputs, Vec::new(), Vec::new(), Vec::new());
        let mut offset = 0;
        let mut kinds: Vec<&str> = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let dropouts = specs[..index].iter().filter(|spec| spec.is_dropout()).count();
            let layer = spec.build(isa, shape, offset, dropouts)?;
            let of_layer = layer.tensors();
            kinds.push(layer.kind());
            let number = kinds.iter().filter(|kind| **kind == layer.kind()).count();
            names.extend(of_layer.iter().map(|tensor| format!("{}{number}.{}", layer.kind(), tensor.field)));
            offset += of_layer.iter().map(LayerTensor::len).sum::<usize>();
            shape = layer.shape();
            tensors.extend(of_layer);
            layers.push(layer);
        }
        let has_dropout = specs.iter().any(|spec| spec.is_dropout());
        let (targets, deltas) = (BatchTargets::Classes(Vec::new()), [zeros(0), zeros(0)]);
        let (shape, inputs) = (inputs, zeros(0));
        Ok(Self { isa, shape, layers, tensors, names, inputs, batch: 0, targets, next: None, has_dropout, deltas })
    }

    /// Returns the named tensors of the flat weights, in order: `dense1.weight` with shape (inputs, outputs),
    /// `dense1.bias` with shape (outputs), `dense2.weight`, …
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let named = self.tensors.iter().zip(&self.names);
        let named = named.map(|(LayerTensor { shape, role, .. }, name)| {
            let (name, shape) = (name.clone(), shape.clone());
            NamedTensor { name, shape, role: *role }
        });
        named.collect()
    }

    /// Returns the number of weights.
    pub fn weight_count(&self) -> usize {
        self.tensors.iter().map(LayerTensor::len).sum()
    }

    /// Returns initial weights. The weights of dense layers and convolutions have He's normal distribution, keyed by
    /// the number of their tensor in the layout ([`init::he_normal`](crate::init::he_normal)). Biases are 0. A norm
    /// begins as the identity.
    pub fn init(&self, seed: u64) -> Buffer {
        let mut weights = zeros(self.weight_count());
        for ((tensor, range), n) in self.tensors.iter().zip(self.ranges()).zip(0..) {
            tensor.start.fill(&mut weights[range], seed, n);
        }
        weights
    }

    /// Returns the ranges of the tensors in the flat weights.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.tensors.iter().scan(0, |end, tensor| {
            let start = mem::replace(end, *end + tensor.len());
            Some(start..*end)
        })
    }

    fn statistics(&self) -> impl Iterator<Item = Range<usize>> {
        self.tensors.iter().zip(self.ranges()).filter(|(t, _)| t.role == TensorRole::Statistic).map(|(_, range)| range)
    }

    /// Returns the ranges that no step of an optimiser may touch, in ascending order: `frozen` and the running
    /// statistics.
    pub fn untrained(&self, frozen: &[Range<usize>]) -> Vec<Range<usize>> {
        let mut ranges: Vec<_> = frozen.to_vec();
        ranges.extend(self.statistics().filter(|range| frozen.iter().all(|other| !covers(other, range))));
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    /// Begins a local epoch. A network with dropout draws by this key and the number of the mini-batch.
    pub fn begin(&mut self, epoch: TrainKey) {
        self.next = Some(StepKey { epoch, step: 0 });
    }

    /// Returns the memory for the inputs of the next batch, shape (batch, inputs), row-major, which the caller fills.
    pub fn inputs(&mut self, batch: usize) -> &mut [f32] {
        self.batch = batch;
        let len = batch * self.shape.len();
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
        self.take_targets(targets)?;
        self.forward(weights, None);
        Ok(self.loss())
    }

    /// Scores the inputs in training, where dropout and batch norm differ from an evaluation, and fills `gradient` with
    /// the gradient of the mean loss, in the order of the weights. That of a running statistic is 0.
    ///
    /// # Errors
    /// Returns the errors of [`Network::score`]. A network with dropout before [`Network::begin`].
    pub fn gradient(
        &mut self,
        weights: &[f32],
        targets: impl IntoIterator<Item = impl ExampleTarget>,
        gradient: &mut [f32],
    ) -> Result<Score> {
        let score = self.train_forward(weights, targets)?;
        for range in self.statistics() {
            gradient[range].fill(0.0);
        }
        self.backward(Target::Gradient { weights, gradient });
        Ok(score)
    }

    /// Scores as [`Network::gradient`] does, and makes one step of `optimiser` at the learning rate `rate`.
    ///
    /// The bits are those of [`Network::gradient`], then [`Optimiser::step`] without the ranges of
    /// [`Network::untrained`], then [`Network::move_statistics`]. The fused step is faster, since each stretch of the
    /// gradient of a dense layer changes its weights as soon as it is finished, and is never stored.
    ///
    /// # Errors
    /// Returns the errors of [`Network::gradient`].
    pub fn step(
        &mut self,
        weights: &mut [f32],
        targets: impl IntoIterator<Item = impl ExampleTarget>,
        optimiser: &mut Optimiser,
        rate: f32,
    ) -> Result<Score> {
        let score = self.train_forward(weights, targets)?;
        self.backward(Target::Weights { weights, rule: optimiser.next_rule(rate) });
        self.move_statistics(weights, &[]);
        Ok(score)
    }

    /// Moves the running statistics in `weights` towards those of the last batch, except those in the ranges `frozen`.
    pub fn move_statistics(&self, weights: &mut [f32], frozen: &[Range<usize>]) {
        self.layers.iter().for_each(|layer| layer.move_statistics(weights, frozen));
    }

    /// Returns the logits of the inputs, shape (batch, classes), or their predictions of a real target, shape (batch,
    /// 1), as a view of the padded rows of the last layer.
    pub fn logits(&mut self, weights: &[f32]) -> ArrayView2<'_, f32> {
        self.forward(weights, None);
        self.outputs()
    }

    /// Returns what [`Network::logits`] would, for the weights of the last call that scored the inputs.
    pub fn outputs(&self) -> ArrayView2<'_, f32> {
        let Matrix { values, stride, rows, columns } = self.last().outputs(self.batch);
        let padded = ArrayView1::from(values).into_shape_with_order((rows, stride));
        padded.expect("a layer holds whole rows").slice_move(s![.., ..columns])
    }

    fn last(&self) -> &dyn Layer {
        &*self.layers[self.layers.len() - 1]
    }

    fn take_targets(&mut self, targets: impl IntoIterator<Item = impl ExampleTarget>) -> Result<()> {
        ExampleTarget::fill(&mut self.targets, targets.into_iter());
        self.targets.check(self.batch, self.last().shape().len())
    }

    /// Scores the inputs in training, and counts the step.
    fn train_forward(
        &mut self,
        weights: &[f32],
        targets: impl IntoIterator<Item = impl ExampleTarget>,
    ) -> Result<Score> {
        if self.has_dropout && self.next.is_none() {
            return Err(Error::new("dropout needs the key of the local epoch; call Network::begin before it"));
        }
        self.take_targets(targets)?;
        let unkeyed = StepKey { epoch: TrainKey { seed: 0, client: 0, round: 0, epoch: 0 }, step: 0 };
        let key = self.next.unwrap_or(unkeyed);
        self.next = self.next.map(|next| StepKey { step: next.step + 1, ..next });
        self.forward(weights, Some(key));
        Ok(self.loss())
    }

    fn forward(&mut self, weights: &[f32], training: Option<StepKey>) {
        assert_eq!(weights.len(), self.weight_count(), "weights of a network");
        let pass = Pass { isa: self.isa, weights, training };
        for l in 0..self.layers.len() {
            let (below, layer) = self.layers.split_at_mut(l);
            layer[0].forward(&pass, inputs_of(below, &self.inputs, self.shape, self.batch));
        }
    }

    /// Scores the outputs, and leaves their gradient in the first of `deltas`.
    fn loss(&mut self) -> Score {
        let Matrix { values, stride, columns: classes, .. } = self.layers[self.layers.len() - 1].outputs(self.batch);
        let outputs = &mut self.deltas[0];
        grow(outputs, values.len());
        let outputs = &mut outputs[..values.len()];
        outputs.copy_from_slice(values);
        match &self.targets {
            BatchTargets::Classes(labels) => self.isa.run(CrossEntropy { logits: outputs, stride, classes, labels }),
            BatchTargets::Real(targets) => self.isa.run(SquaredError { outputs, stride, targets }),
        }
    }

    /// Passes the gradient from the last layer to the first, and applies each layer's gradient to `target`.
    fn backward(&mut self, mut target: Target<'_>) {
        let [above, below] = &mut self.deltas;
        for l in (0..self.layers.len()).rev() {
            let (lower, layer) = self.layers.split_at_mut(l);
            let layer = &mut layer[0];
            let inputs = inputs_of(lower, &self.inputs, self.shape, self.batch);
            let delta = Matrix::padded(above, self.batch, layer.shape().len());
            let gradient = (l > 0).then(|| {
                let len = self.batch * padded(inputs.columns);
                grow(below, len);
                &mut below[..len]
            });
            // The gradient at the layer below needs the weights before their step.
            let pass = Pass { isa: self.isa, weights: target.weights(), training: None };
            layer.backward(&pass, inputs, delta, gradient);
            match &mut target {
                Target::Gradient { gradient, .. } => layer.apply(&mut StepRule::Store(Store), gradient, inputs, delta),
                Target::Weights { weights, rule } => layer.apply(rule, weights, inputs, delta),
            }
            mem::swap(above, below);
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

/// Returns the inputs of the layer that follows the layers `below`.
fn inputs_of<'a>(below: &'a [Box<dyn Layer>], inputs: &'a [f32], shape: Shape, rows: usize) -> Matrix<'a> {
    let columns = shape.len();
    match below.last() {
        Some(below) => below.outputs(rows),
        None => Matrix { values: &inputs[..rows * columns], stride: columns, rows, columns },
    }
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests;
