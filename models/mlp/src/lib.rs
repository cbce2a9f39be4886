//! The multi-layer perceptron, the default model of fedpipe: dense layers with ReLU between them.
//!
//! Compared with `logreg` and `linreg` it does both tasks, and has an option, initial weights from the seed, a fused
//! step and predictions.
#![forbid(unsafe_code)]

use std::cell::OnceCell;

use fedpipe_model::{
    Batch, Description, Epoch, Error, Examples, Layout, Model, Options, Report, Result, Sums, Target, Task, Tensor,
    export_model,
};
use fedpipe_nn::{Buffer, ExampleTarget, Isa, Network, Optimiser, Score, zeros};

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
}

impl Model for Mlp {
    fn describe() -> Description {
        Description::new("mlp", env!("CARGO_PKG_VERSION"), "multi-layer perceptron with ReLU")
            .option("hidden", "128,64", "widths of the hidden layers, from the inputs on")
            .instruction_set(Isa::current().map_or("", Isa::name))
    }

    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self> {
        let widths = widths(options.list("hidden")?, task)?;
        let network = Network::new(&widths)?;
        let optimiser = Optimiser::new()?;
        // A plain epoch needs no gradient, so that the buffer is allocated later.
        let gradient = zeros(0);
        Ok(Self { network, seed, weights: OnceCell::new(), gradient, optimiser, task: task.clone() })
    }

    fn layout(&self) -> Layout {
        self.network.tensors().map(|(name, shape)| Tensor::param(name, &shape)).collect()
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
                self.optimiser.step(weights, &self.gradient, rate, epoch.frozen);
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

/// Returns the widths of all layers: inputs, hidden layers, outputs.
fn widths(hidden: Vec<usize>, task: &Task) -> Result<Vec<usize>> {
    /// The widest layer that is accepted; a wider one is a typing error, and its weights would not fit into memory.
    const WIDEST: usize = 65_536;
    if let Some(width) = hidden.iter().find(|&&width| width == 0 || width > WIDEST) {
        return Err(Error::new(format!("model option hidden: a layer cannot be {width} wide, only 1 to {WIDEST}")));
    }
    Ok([vec![task.inputs()], hidden, vec![task.outputs()]].concat())
}

export_model!(Mlp);

#[cfg(test)]
mod tests;
