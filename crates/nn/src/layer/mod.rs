//! The layers of a network: one file each, and one entry of [`LayerSpec`].
//!
//! A [`Layer`] holds its last outputs and its scratch memory. The weights, and the gradients at the outputs, belong to
//! others: `network.rs` lends them.

mod batch_norm;
mod conv;
mod dense;
mod dropout;
mod layer_norm;
mod max_pool;
mod norm;
mod relu_layer;
mod spec;
#[cfg(test)]
mod tests;

use std::{fmt::Debug, ops::Range};

pub(crate) use self::spec::is_width;
pub use self::spec::{LayerSpec, Norm, Shape};
use crate::{buffer::Buffer, init, isa::Isa, kernel::Matrix, rule::StepRule};

/// One layer of a network.
///
/// Rows of all matrices are examples. Rows of outputs are padded to a multiple of [`LANES`](crate::buffer::LANES); the
/// padding of a gradient is 0.
pub(crate) trait Layer: Debug + Send {
    /// Returns the word that begins the names of the tensors, such as `dense`.
    fn kind(&self) -> &'static str;

    /// Returns the shape of an example of the outputs.
    fn shape(&self) -> Shape;

    /// Returns the tensors in the order in which they lie in the flat weights.
    fn tensors(&self) -> Vec<LayerTensor> {
        Vec::new()
    }

    /// Computes the outputs of `inputs`.
    fn forward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>);

    /// Returns the outputs of the last forward pass over `rows` examples.
    fn outputs(&self, rows: usize) -> Matrix<'_>;

    /// Computes the gradient at the inputs of the last forward pass from `delta`, the gradient at the outputs.
    /// `below` receives it, with rows padded as those of outputs. The first layer of a network has no `below`.
    fn backward(&mut self, pass: &Pass<'_>, inputs: Matrix<'_>, delta: Matrix<'_>, below: Option<&mut [f32]>);

    /// Applies `rule` to the parameters of this layer in `target`, the whole flat buffer. It follows a backward pass
    /// with the same `inputs` and `delta`.
    fn apply(&mut self, _rule: &mut StepRule<'_>, _target: &mut [f32], _inputs: Matrix<'_>, _delta: Matrix<'_>) {}

    /// Moves the running statistics in `weights`, the whole flat buffer, except those in the ranges `frozen`.
    fn move_statistics(&self, _weights: &mut [f32], _frozen: &[Range<usize>]) {}
}

/// The operands that all layers share in a pass over one batch.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) isa: Isa,
    /// The whole flat buffer.
    pub(crate) weights: &'a [f32],
    /// The key of a training step; none in an evaluation.
    pub(crate) training: Option<StepKey>,
}

/// The key of one training step of a client, by which dropout draws.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepKey {
    pub(crate) epoch: TrainKey,
    /// The number of the mini-batch in its local epoch, from 0.
    pub(crate) step: u32,
}

/// The key of a local epoch. Random choices of a network, such as those of dropout, depend on nothing else.
///
/// ```
/// use fedpipe_nn::{LayerSpec, Network, Optimiser, Shape, TrainKey};
///
/// let layers = [LayerSpec::Dropout { rate: 0.5 }, LayerSpec::Dense { outputs: 2 }];
/// let mut network = Network::stack(Shape::flat(4), &layers)?;
/// let (mut weights, mut optimiser) = (network.init(1), Optimiser::new()?);
/// network.inputs(1).fill(1.0);
/// assert!(network.step(&mut weights, [1], &mut optimiser, 0.1).is_err());
/// network.begin(TrainKey { seed: 1, client: 0, round: 1, epoch: 0 });
/// network.step(&mut weights, [1], &mut optimiser, 0.1)?;
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainKey {
    /// The seed of the run.
    pub seed: u64,
    /// The client's number.
    pub client: u32,
    /// The round, from 1.
    pub round: u64,
    /// The local epoch, from 0.
    pub epoch: u64,
}

/// A tensor of a layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerTensor {
    /// The last part of the name, such as `weight`.
    pub(crate) field: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) role: TensorRole,
    pub(crate) start: Start,
}

impl LayerTensor {
    /// Returns the number of weights.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The role of a tensor in its network.
///
/// ```
/// use fedpipe_nn::{LayerSpec, Network, TensorRole, Shape};
///
/// let network = Network::stack(Shape::flat(4), &[LayerSpec::BatchNorm, LayerSpec::Dense { outputs: 2 }])?;
/// let roles: Vec<_> = network.tensors().into_iter().map(|tensor| (tensor.name, tensor.role)).collect();
/// assert_eq!(roles[0], ("norm1.weight".into(), TensorRole::Norm));
/// assert_eq!(roles[2], ("norm1.running_mean".into(), TensorRole::Statistic));
/// assert_eq!(roles[4], ("dense1.weight".into(), TensorRole::Weight));
/// # Ok::<(), fedpipe_nn::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorRole {
    /// A parameter of a dense layer or of a convolution.
    Weight,
    /// A parameter of a norm.
    Norm,
    /// A running statistic, which no gradient moves.
    Statistic,
}

/// The initial values of a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// He's normal distribution for this number of inputs.
    He(usize),
    /// One value everywhere.
    Fill(f32),
}

impl Start {
    /// Fills tensor number `tensor` of a layout.
    pub(crate) fn fill(self, values: &mut [f32], seed: u64, tensor: u64) {
        match self {
            Start::He(inputs) => init::he_normal(values, inputs, seed, tensor),
            Start::Fill(value) => values.fill(value),
        }
    }
}

/// Returns pairs of slices of equal position in `inputs` and `out`, whose rows have another stride: one pair if the
/// strides agree, otherwise one for each row.
fn aligned<'a>(
    inputs: Matrix<'a>,
    out: &'a mut Buffer,
    stride: usize,
) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    let one = if inputs.stride == stride { inputs.rows.max(1) } else { 1 };
    let values = &inputs.values[..inputs.rows * inputs.stride];
    values.chunks(one * inputs.stride).zip(out[..inputs.rows * stride].chunks_mut(one * stride))
}
