//! Multinomial logistic regression: the smallest model of fedpipe, and the one to start your own from.
#![forbid(unsafe_code)]

use fedpipe_model::{
    Description, Epoch, Examples, Layout, Model, Options, Report, Result, Sums, Task, Tensor, export_model,
};
use fedpipe_nn::{Buffer, Network, Optimiser, zeros};

/// A network without a hidden layer, that is: softmax(x · weight + bias).
struct LogReg {
    network: Network,
    weights: Buffer,
    gradient: Buffer,
    optimiser: Optimiser,
}

impl Model for LogReg {
    fn describe() -> Description {
        Description::new("logreg", env!("CARGO_PKG_VERSION"), "multinomial logistic regression")
    }

    fn build(_: &Options, task: &Task, _seed: u64) -> Result<Self> {
        let network = Network::new(&[task.inputs(), task.classes])?;
        // The loss is convex, so every seed may start from 0.
        let weights = zeros(network.weight_count());
        Ok(Self { network, gradient: weights.clone(), weights, optimiser: Optimiser::new()? })
    }

    fn layout(&self) -> Layout {
        self.network.tensors().map(|(name, shape)| Tensor::param(name, &shape)).collect()
    }

    fn weights(&self) -> &[f32] {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut [f32] {
        &mut self.weights
    }

    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        let mut report = Report::default();
        self.optimiser.begin(epoch.optimiser, self.weights.len(), epoch.epoch, epoch.keep_optimiser)?;
        for batch in epoch.batches(examples) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.gradient(&self.weights, batch.labels(), &mut self.gradient)?;
            report.sums.add(score.loss_sum, score.correct, batch.len())?;
            // An algorithm adds its terms here.
            epoch.correct(&self.weights, &mut self.gradient);
            self.optimiser.step(&mut self.weights, &self.gradient, epoch.learning_rate);
            report.steps += 1;
        }
        report.accumulation = self.optimiser.accumulation(epoch.learning_rate, epoch.proximal());
        Ok(report)
    }

    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        let mut sums = Sums::default();
        for batch in examples.batches(500) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.score(&self.weights, batch.labels())?;
            sums.add(score.loss_sum, score.correct, batch.len())?;
        }
        Ok(sums)
    }
}

export_model!(LogReg);

#[cfg(test)]
mod tests;
