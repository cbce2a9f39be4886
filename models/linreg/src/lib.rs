//! Linear regression, the smallest model of fedpipe for a real target.
#![forbid(unsafe_code)]

use fedpipe_model::{
    Batch, Description, Epoch, Examples, Layout, Model, Options, Report, Result, Sums, Task, Tensor, export_model,
};
use fedpipe_nn::{Buffer, Isa, Network, Optimiser, Score, zeros};

/// A network without a hidden layer, x · weight + bias, with the squared error as its loss.
struct LinReg {
    network: Network,
    weights: Buffer,
    gradient: Buffer,
    optimiser: Optimiser,
}

impl LinReg {
    /// Adds the score of the batch that the network has scored.
    fn add(&self, sums: &mut Sums, score: Score, batch: &Batch<'_>) -> Result<()> {
        let predictions = self.network.outputs().into_iter().copied();
        sums.add_predictions(score.loss_sum, predictions.zip(batch.targets()))
    }
}

impl Model for LinReg {
    fn describe() -> Description {
        Description::new("linreg", env!("CARGO_PKG_VERSION"), "linear regression")
            .instruction_set(Isa::current().map_or("", Isa::name))
            .keeps_momentum()
    }

    fn build(_: &Options, task: &Task, _seed: u64) -> Result<Self> {
        task.real()?;
        let network = Network::new(&[task.inputs(), 1])?;
        // The loss is convex, so that all weights may start at 0, for every seed.
        let weights = zeros(network.weight_count());
        Ok(Self { network, gradient: weights.clone(), weights, optimiser: Optimiser::new()? })
    }

    fn layout(&self) -> Layout {
        self.network.tensors().into_iter().map(|tensor| Tensor::param(tensor.name, &tensor.shape)).collect()
    }

    fn weights(&self) -> &[f32] {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    fn momentum(&self) -> &[f32] {
        self.optimiser.momentum()
    }

    fn set_momentum(&mut self, momentum: &[f32]) -> Result<()> {
        self.optimiser.set_momentum(momentum);
        Ok(())
    }

    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        let mut report = Report::default();
        self.optimiser.begin(epoch.optimiser, self.weights.len(), epoch.epoch)?;
        for batch in epoch.batches(examples) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.gradient(&self.weights, batch.targets(), &mut self.gradient)?;
            self.add(&mut report.sums, score, &batch)?;
            // The terms that an algorithm adds to the gradient.
            epoch.correct(&self.weights, &mut self.gradient);
            self.optimiser.step(&mut self.weights, &self.gradient, epoch.learning_rate, epoch.frozen);
            report.steps += 1;
        }
        report.accumulation = self.optimiser.accumulation(epoch.learning_rate, epoch.proximal);
        Ok(report)
    }

    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        let mut sums = Sums::default();
        for batch in examples.batches(500) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.score(&self.weights, batch.targets())?;
            self.add(&mut sums, score, &batch)?;
        }
        Ok(sums)
    }
}

export_model!(LinReg);

#[cfg(test)]
mod tests;
