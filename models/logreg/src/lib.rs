//! Multinomial logistic regression, the smallest model of fedpipe.
#![forbid(unsafe_code)]

use fedpipe_model::{
    Description, Epoch, Examples, Layout, Model, Options, Report, Result, Sums, Task, Tensor, export_model,
};
use fedpipe_nn::{Buffer, Isa, Network, Optimiser, zeros};

/// A network without a hidden layer: softmax(x · weight + bias).
struct LogReg {
    network: Network,
    weights: Buffer,
    gradient: Buffer,
    optimiser: Optimiser,
}

impl Model for LogReg {
    fn describe() -> Description {
        Description::new("logreg", env!("CARGO_PKG_VERSION"), "multinomial logistic regression")
            .instruction_set(Isa::current().map_or("", Isa::name))
    }

    fn build(_: &Options, task: &Task, _seed: u64) -> Result<Self> {
        let network = Network::new(&[task.inputs(), task.classes()?])?;
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

    fn train_epoch(&mut self, examples: &Examples<'_>, epoch: &Epoch<'_>) -> Result<Report> {
        let mut report = Report::default();
        self.optimiser.begin(epoch.optimiser, self.weights.len(), epoch.epoch)?;
        for batch in epoch.batches(examples) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.gradient(&self.weights, batch.labels(), &mut self.gradient)?;
            report.sums.add(score.loss_sum, score.correct, batch.len())?;
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
            let score = self.network.score(&self.weights, batch.labels())?;
            sums.add(score.loss_sum, score.correct, batch.len())?;
        }
        Ok(sums)
    }
}

export_model!(LogReg);

#[cfg(test)]
mod tests;
