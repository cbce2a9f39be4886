//! The network as a module of burn, and its tensors in the flat weights of fedpipe.

use burn::{
    module::{Module, Param, ParamId},
    nn::Linear,
    optim::GradientsParams,
    prelude::{Backend, Tensor, TensorData},
    tensor::{activation::relu, backend::AutodiffBackend},
};
use fedpipe_model as model;

use crate::{Differentiated, Plain};

/// A dense layer: its widths, and the names by which an optimiser of burn finds the state of its tensors.
#[derive(Debug)]
pub(crate) struct Dense {
    number: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    weight: ParamId,
    bias: ParamId,
}

impl Dense {
    pub(crate) fn tensors(&self) -> [model::Tensor; 2] {
        let name = |part: &str| format!("dense{}.{part}", self.number);
        [
            model::Tensor::param(name("weight"), &[self.inputs, self.outputs]),
            model::Tensor::param(name("bias"), &[self.outputs]),
        ]
    }

    /// Cuts the weight and the bias of this layer off the front of `flat`.
    fn cut<'f>(&self, flat: &mut &'f [f32]) -> [&'f [f32]; 2] {
        [self.inputs * self.outputs, self.outputs].map(|len| {
            let (front, rest) = flat.split_at(len);
            *flat = rest;
            front
        })
    }

    /// Returns the tensors of this layer, which begin `flat`.
    fn read<B: Backend>(&self, flat: &mut &[f32]) -> (Tensor<B, 2>, Tensor<B, 1>) {
        let [weight, bias] = self.cut(flat);
        let device = B::Device::default();
        let weight = TensorData::new(weight.to_vec(), [self.inputs, self.outputs]);
        let bias = TensorData::new(bias.to_vec(), [self.outputs]);
        (Tensor::from_data(weight, &device), Tensor::from_data(bias, &device))
    }
}

/// Returns the layers between `widths`, from the inputs to the outputs.
pub(crate) fn layers(widths: &[usize]) -> Vec<Dense> {
    let pairs = widths.windows(2).zip(1..);
    let layer = |(pair, number): (&[usize], usize)| Dense {
        number,
        inputs: pair[0],
        outputs: pair[1],
        weight: ParamId::new(),
        bias: ParamId::new(),
    };
    pairs.map(layer).collect()
}

/// The dense layers, with ReLU between them.
#[derive(Module, Debug)]
pub(crate) struct Perceptron<B: Backend> {
    layers: Vec<Linear<B>>,
}

impl<B: Backend> Perceptron<B> {
    /// Returns the network with the values of `flat`, in the order of the layout.
    pub(crate) fn load(layers: &[Dense], mut flat: &[f32]) -> Self {
        let load = |layer: &Dense| {
            let (weight, bias) = layer.read(&mut flat);
            Linear {
                weight: Param::initialized(layer.weight, weight.require_grad()),
                bias: Some(Param::initialized(layer.bias, bias.require_grad())),
            }
        };
        Self { layers: layers.iter().map(load).collect() }
    }

    /// Copies the values of the network into `flat`.
    pub(crate) fn store(&self, mut flat: &mut [f32]) {
        for layer in &self.layers {
            flat = copy(layer.weight.val(), flat);
            flat = layer.bias.iter().fold(flat, |flat, bias| copy(bias.val(), flat));
        }
    }

    /// Returns the logits, shape (batch, classes), of `inputs`, shape (batch, inputs).
    pub(crate) fn forward(&self, inputs: Tensor<B, 2>) -> Tensor<B, 2> {
        let values = self.layers.iter().enumerate();
        values.fold(inputs, |x, (at, layer)| layer.forward(if at == 0 { x } else { relu(x) }))
    }
}

impl Perceptron<Differentiated> {
    /// Copies the gradients into `flat`.
    pub(crate) fn store_gradients(
        &self,
        gradients: &<Differentiated as AutodiffBackend>::Gradients,
        mut flat: &mut [f32],
    ) {
        for layer in &self.layers {
            flat = copy(layer.weight.grad(gradients).expect("a loss depends on every weight"), flat);
            let bias = layer.bias.iter().filter_map(|bias| bias.grad(gradients));
            flat = bias.fold(flat, |flat, bias| copy(bias, flat));
        }
    }
}

/// Returns the gradients in `flat` for an optimiser of burn, without those at which `is_left_out` is true.
pub(crate) fn gradients(layers: &[Dense], flat: &[f32], is_left_out: impl Fn(usize) -> bool) -> GradientsParams {
    let mut gradients = GradientsParams::new();
    let mut rest = flat;
    for layer in layers {
        let at = flat.len() - rest.len();
        let (weight, bias) = layer.read::<Plain>(&mut rest);
        if !is_left_out(at) {
            gradients.register(layer.weight, weight);
        }
        if !is_left_out(at + layer.inputs * layer.outputs) {
            gradients.register(layer.bias, bias);
        }
    }
    gradients
}

/// Copies a tensor to the front of `flat`, and returns the rest.
pub(crate) fn copy<B: Backend, const D: usize>(tensor: Tensor<B, D>, flat: &mut [f32]) -> &mut [f32] {
    let data = tensor.into_data();
    let values = data.as_slice::<f32>().expect("the backend computes in f32");
    let (front, rest) = flat.split_at_mut(values.len());
    front.copy_from_slice(values);
    rest
}
