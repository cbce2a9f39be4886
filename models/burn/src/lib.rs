//! The multi-layer perceptron of `models/mlp` on burn: its tensors, gradients and optimisers, in one thread.
//!
//! It shows that the ABI binds no framework. The layers, the initial weights and the order of the examples are those of
//! `mlp`; the sums of burn have another order.
#![forbid(unsafe_code)]

mod perceptron;
mod solver;
#[cfg(test)]
mod tests;

use burn::{
    backend::{Autodiff, NdArray},
    nn::loss::CrossEntropyLossConfig,
    optim::GradientsParams,
    prelude::{Backend, ElementConversion, Int, Tensor, TensorData},
    tensor::backend::AutodiffBackend,
};
use fedpipe_model::{
    Batch, Description, Epoch, Error, Examples, Layout, Model, Options, Report, Result, Sums, Task, export_model,
};
use fedpipe_random::{key::Key, normal};

use crate::{
    perceptron::{Dense, Perceptron},
    solver::Solver,
};

/// The backend of an evaluation.
type Plain = NdArray<f32>;

/// The backend of the training.
type Differentiated = Autodiff<Plain>;

/// The number of examples in a batch of an evaluation.
const EVALUATION_BATCH: usize = 500;

struct BurnMlp {
    layers: Vec<Dense>,
    weights: Vec<f32>,
    solver: Option<Solver>,
    classes: usize,
}

impl Model for BurnMlp {
    fn describe() -> Description {
        Description::new("burn-mlp", env!("CARGO_PKG_VERSION"), "multi-layer perceptron with ReLU on burn, for classes").option(
            "hidden",
            "128,64",
            "widths of the hidden layers, from the inputs on",
        )
    }

    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self> {
        let classes = task.classes()?;
        let mut widths = vec![task.inputs()];
        widths.extend(options.list::<usize>("hidden")?);
        widths.push(classes);
        if widths.contains(&0) {
            return Err(Error::new("model option hidden: a layer cannot be 0 wide; take 1 or more"));
        }
        let layers = perceptron::layers(&widths);
        Ok(Self { weights: initial_weights(&layers, seed), layers, solver: None, classes })
    }

    fn layout(&self) -> Layout {
        self.layers.iter().flat_map(Dense::tensors).collect()
    }

    fn weights(&self) -> &[f32] {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        if epoch.epoch == 0 {
            self.solver = None;
        }
        let solver = match &mut self.solver {
            Some(solver) => solver,
            none => none.insert(Solver::new(epoch.optimiser)?),
        };
        let mut network = Perceptron::<Differentiated>::load(&self.layers, &self.weights);
        let mut report = Report::default();
        for batch in epoch.batches(examples) {
            let (loss, correct) = score(network.forward(inputs(&batch, examples.row_len())), &batch);
            report.sums.add(loss.clone().into_scalar().elem::<f64>() * batch.len() as f64, correct, batch.len())?;
            let mut gradients = loss.backward();
            let gradients = if epoch.is_plain() {
                GradientsParams::from_module(&mut gradients, &network)
            } else {
                network.store(&mut self.weights);
                corrected(&network, &gradients, &self.layers, &self.weights, epoch)
            };
            network = solver.step(epoch.learning_rate.into(), network, gradients);
            report.steps += 1;
        }
        network.store(&mut self.weights);
        report.accumulation = solver.accumulation(epoch);
        Ok(report)
    }

    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        let network = Perceptron::<Plain>::load(&self.layers, &self.weights);
        let mut sums = Sums::default();
        for batch in examples.batches(EVALUATION_BATCH) {
            let (loss, correct) = score(network.forward(inputs(&batch, examples.row_len())), &batch);
            sums.add(loss.into_scalar().elem::<f64>() * batch.len() as f64, correct, batch.len())?;
        }
        Ok(sums)
    }

    fn predict(&mut self, examples: &Examples<'_>, scores: &mut [f32]) -> Result<()> {
        let network = Perceptron::<Plain>::load(&self.layers, &self.weights);
        let batches = examples.batches(EVALUATION_BATCH);
        for (batch, scores) in batches.zip(scores.chunks_mut(EVALUATION_BATCH * self.classes)) {
            perceptron::copy(network.forward(inputs(&batch, examples.row_len())), scores);
        }
        Ok(())
    }
}

/// Returns the initial weights of `mlp`: He's normal distribution, with a stream for each tensor, and biases of 0.
fn initial_weights(layers: &[Dense], seed: u64) -> Vec<f32> {
    let mut weights = Vec::new();
    for (layer, number) in layers.iter().zip(0..) {
        let deviation = (2.0 / layer.inputs as f64).sqrt();
        // The layout has the weights and the bias of each layer.
        let mut stream = Key::initial(seed, 2 * number).rng();
        let values = (0..layer.inputs * layer.outputs).map(|_| (deviation * normal::standard(&mut stream)) as f32);
        weights.extend(values);
        weights.resize(weights.len() + layer.outputs, 0.0);
    }
    weights
}

/// Returns the inputs of a batch of rows with `width` values, shape (batch, width).
fn inputs<B: Backend>(batch: &Batch<'_>, width: usize) -> Tensor<B, 2> {
    let mut inputs = vec![0.0; batch.len() * width];
    batch.gather(&mut inputs);
    Tensor::from_data(TensorData::new(inputs, [batch.len(), width]), &B::Device::default())
}

/// Returns the mean loss of a batch and the number of correct predictions.
fn score<B: Backend>(logits: Tensor<B, 2>, batch: &Batch<'_>) -> (Tensor<B, 1>, u64) {
    let device = logits.device();
    let labels: Vec<i64> = batch.labels().map(i64::from).collect();
    let labels = Tensor::<B, 1, Int>::from_data(TensorData::new(labels, [batch.len()]), &device);
    let predicted = logits.clone().argmax(1).reshape([batch.len()]);
    let correct = predicted.equal(labels.clone()).int().sum().into_scalar().elem();
    (CrossEntropyLossConfig::new().init(&device).forward(logits, labels), correct)
}

/// Returns the gradients with the terms of the epoch. The solver leaves out a tensor without a gradient.
fn corrected(
    network: &Perceptron<Differentiated>,
    gradients: &<Differentiated as AutodiffBackend>::Gradients,
    layers: &[Dense],
    weights: &[f32],
    epoch: &Epoch<'_>,
) -> GradientsParams {
    let mut flat = vec![0.0; weights.len()];
    network.store_gradients(gradients, &mut flat);
    epoch.correct(weights, &mut flat);
    let is_frozen = |at: usize| epoch.frozen.iter().any(|range| range.contains(&at));
    perceptron::gradients(layers, &flat, is_frozen)
}

export_model!(BurnMlp);
