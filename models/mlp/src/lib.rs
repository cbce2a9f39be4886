//! The multi-layer perceptron, the default model of fedpipe: dense layers with ReLU between them.
//!
//! Compared with `logreg` and `linreg` it does both tasks, and has an option, initial weights from the seed, a fused
//! step and predictions.
#![forbid(unsafe_code)]

use std::cell::OnceCell;

use fedpipe_model::{
    Batch, Description, Epoch, Error, Examples, Kind, Layout, Model, Options, Place, Report, Result, Sums, Target,
    Task, Tensor, export_model,
};
use fedpipe_nn::{
    Buffer, ExampleTarget, Isa, LayerSpec, Network, Norm, Optimiser, Score, Shape, TensorRole, TrainKey, zeros,
};

/// The number of examples in a batch of an evaluation. The inputs of larger batches do not fit into the L2 cache.
const EVALUATION_BATCH: usize = 100;

struct Mlp {
    network: Network,
    seed: u64,
    /// The weights, made from the seed when they are first asked for. Only one client of a run is asked; the others
    /// receive weights and start a third faster.
    weights: OnceCell<Buffer>,
    gradient: Buffer,
    optimiser: Optimiser,
    task: Task,
    norm_place: Place,
}

impl Model for Mlp {
    fn describe() -> Description {
        Description::new("mlp", env!("CARGO_PKG_VERSION"), "multi-layer perceptron with ReLU")
            .option("hidden", "128,64", "widths of the hidden layers, from the inputs on")
            .option("dropout", "0", "share of the values of each hidden layer that training sets to 0")
            .option("norm", "none", "norm before each ReLU: none, layer or batch")
            .option("norm-place", "shared", "shared, or local: each client keeps its own norms (FedBN)")
            .instruction_set(Isa::current().map_or("", Isa::name))
            .keeps_momentum()
    }

    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self> {
        let norm_place = options.get("norm-place")?;
        options.get::<Norm>("norm")?.check_place(norm_place == Place::Local)?;
        let network = Network::stack(Shape::flat(task.inputs()), &layers(options, task)?)?;
        let optimiser = Optimiser::new()?;
        // A plain epoch needs no gradient, so that the buffer is allocated later.
        let gradient = zeros(0);
        let task = task.clone();
        Ok(Self { network, seed, weights: OnceCell::new(), gradient, optimiser, task, norm_place })
    }

    fn layout(&self) -> Layout {
        let tensors = self.network.tensors().into_iter();
        let tensors = tensors.map(|tensor| Tensor {
            kind: if tensor.role == TensorRole::Statistic { Kind::Buffer } else { Kind::Param },
            place: if tensor.role == TensorRole::Weight { Place::Shared } else { self.norm_place },
            name: tensor.name,
            shape: tensor.shape,
        });
        tensors.collect()
    }

    fn weights(&self) -> &[f32] {
        self.weights.get_or_init(|| self.network.init(self.seed))
    }

    fn weights_mut(&mut self) -> &mut [f32] {
        weights_or_init(&mut self.weights, &self.network, self.seed)
    }

    fn weight_count(&self) -> usize {
        self.network.weight_count()
    }

    fn set_weights(&mut self, weights: &[f32]) {
        match self.weights.get_mut() {
            Some(own) => own.copy_from_slice(weights),
            None => self.weights = OnceCell::from(Buffer::from_slice(64, weights)),
        }
    }

    fn momentum(&self) -> &[f32] {
        self.optimiser.momentum()
    }

    fn set_momentum(&mut self, momentum: &[f32]) -> Result<()> {
        self.optimiser.set_momentum(momentum);
        Ok(())
    }

    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        match self.task.target {
            Target::Classes(_) => self.train(examples, epoch, Batch::labels),
            Target::Real => self.train(examples, epoch, Batch::targets),
        }
    }

    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        match self.task.target {
            Target::Classes(_) => self.score(examples, Batch::labels),
            Target::Real => self.score(examples, Batch::targets),
        }
    }

    fn predict(&mut self, examples: &Examples<'_>, scores: &mut [f32]) -> Result<()> {
        let weights = weights_or_init(&mut self.weights, &self.network, self.seed);
        let batches = examples.batches(EVALUATION_BATCH);
        for (batch, scores) in batches.zip(scores.chunks_mut(EVALUATION_BATCH * self.task.outputs())) {
            batch.gather(self.network.inputs(batch.len()));
            scores.iter_mut().zip(self.network.logits(weights)).for_each(|(score, logit)| *score = *logit);
        }
        Ok(())
    }
}

impl Mlp {
    /// Trains on the targets that `targets` returns for a batch.
    fn train<'e, I: IntoIterator<Item: ExampleTarget>>(
        &mut self,
        examples: &Examples<'e>,
        epoch: &Epoch<'_>,
        targets: impl Fn(&Batch<'e>) -> I,
    ) -> Result<Report> {
        let weights = weights_or_init(&mut self.weights, &self.network, self.seed);
        let network = &mut self.network;
        let (rate, target) = (epoch.learning_rate, self.task.target);
        self.optimiser.begin(epoch.optimiser, weights.len(), epoch.epoch)?;
        let &Epoch { seed, client, round, epoch: number, .. } = epoch;
        network.begin(TrainKey { seed, client, round, epoch: number });
        let untrained = network.untrained(epoch.frozen);
        if !epoch.is_plain() {
            self.gradient.resize(weights.len(), 0.0);
        }
        let mut report = Report::default();
        for batch in epoch.batches(examples) {
            batch.gather(network.inputs(batch.len()));
            let score = if epoch.is_plain() {
                network.step(weights, targets(&batch), &mut self.optimiser, rate)?
            } else {
                let score = network.gradient(weights, targets(&batch), &mut self.gradient)?;
                epoch.correct(weights, &mut self.gradient);
                self.optimiser.step(weights, &self.gradient, rate, &untrained);
                network.move_statistics(weights, epoch.frozen);
                score
            };
            add(&mut report.sums, score, network, &batch, target)?;
            report.steps += 1;
        }
        report.accumulation = self.optimiser.accumulation(rate, epoch.proximal);
        Ok(report)
    }

    /// Sums the scores of the targets that `targets` returns for a batch.
    fn score<'e, I: IntoIterator<Item: ExampleTarget>>(
        &mut self,
        examples: &Examples<'e>,
        targets: impl Fn(&Batch<'e>) -> I,
    ) -> Result<Sums> {
        let weights = weights_or_init(&mut self.weights, &self.network, self.seed);
        let mut sums = Sums::default();
        for batch in examples.batches(EVALUATION_BATCH) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.score(weights, targets(&batch))?;
            add(&mut sums, score, &self.network, &batch, self.task.target)?;
        }
        Ok(sums)
    }
}

/// Adds the score of the batch that `network` has scored.
fn add(sums: &mut Sums, score: Score, network: &Network, batch: &Batch<'_>, target: Target) -> Result<()> {
    match target {
        Target::Classes(_) => sums.add(score.loss_sum, score.correct, batch.len()),
        Target::Real => {
            let predictions = network.outputs().into_iter().copied();
            sums.add_predictions(score.loss_sum, predictions.zip(batch.targets()))
        }
    }
}

/// Returns the weights, and makes them from the seed if they do not exist.
fn weights_or_init<'w>(weights: &'w mut OnceCell<Buffer>, network: &Network, seed: u64) -> &'w mut Buffer {
    weights.get_or_init(|| network.init(seed));
    weights.get_mut().expect("weights exist")
}

/// Returns the layers from the first hidden one to the outputs.
fn layers(options: &Options, task: &Task) -> Result<Vec<LayerSpec>> {
    /// The widest layer that is accepted; a wider one is a typing error, and its weights would not fit into memory.
    const WIDEST: usize = 65_536;
    let (norm, rate) = (options.get::<Norm>("norm")?.layer(), options.get::<f32>("dropout")?);
    let mut layers = Vec::new();
    for outputs in options.list("hidden")? {
        if outputs == 0 || outputs > WIDEST {
            return Err(Error::new(format!(
                "model option hidden: a layer cannot be {outputs} wide, only 1 to {WIDEST}"
            )));
        }
        layers.push(LayerSpec::Dense { outputs });
        layers.extend(norm);
        layers.push(LayerSpec::Relu);
        layers.extend((rate != 0.0).then_some(LayerSpec::Dropout { rate }));
    }
    layers.push(LayerSpec::Dense { outputs: task.outputs() });
    Ok(layers)
}

export_model!(Mlp);

#[cfg(test)]
mod tests;
