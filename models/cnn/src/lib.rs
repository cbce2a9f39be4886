//! A convolutional network in the style of LeNet: convolutions with pooling, then dense layers, with ReLU between them.
#![forbid(unsafe_code)]

use fedpipe_model::{
    Description, Epoch, Error, Examples, Kind, Layout, Model, Options, Place, Report, Result, Sums, Task, Tensor,
    export_model,
};
use fedpipe_nn::{Buffer, Isa, LayerSpec, Network, Norm, Optimiser, Shape, TensorRole, TrainKey};

/// The number of examples in a batch of an evaluation. The values of larger batches do not fit into the L2 cache.
const EVALUATION_BATCH: usize = 25;

/// The height and the width of the squares of which pooling takes the maximum.
const POOL: usize = 2;

struct Cnn {
    network: Network,
    weights: Buffer,
    gradient: Buffer,
    optimiser: Optimiser,
    classes: usize,
    norm_place: Place,
}

impl Model for Cnn {
    fn describe() -> Description {
        Description::new("cnn", env!("CARGO_PKG_VERSION"), "convolutional network in the style of LeNet")
            .option("channels", "6,16", "channels of the convolutions, each followed by pooling")
            .option("kernel", "5", "height and width of the kernels")
            .option("hidden", "120,84", "widths of the dense layers after the convolutions")
            .option("dropout", "0", "share of the values of each dense layer that training sets to 0")
            .option("norm", "none", "norm before each ReLU: none, layer or batch")
            .option("norm-place", "shared", "shared, or local: each client keeps its own norms (FedBN)")
            .instruction_set(Isa::current().map_or("", Isa::name))
            .keeps_momentum()
    }

    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self> {
        let norm: Norm = options.get("norm")?;
        let norm_place = options.get("norm-place")?;
        norm.check_place(norm_place == Place::Local)?;
        let classes = task.classes()?;
        let network = Network::stack(image(options, task)?, &layers(options, classes)?)?;
        let weights = network.init(seed);
        let (gradient, optimiser) = (weights.clone(), Optimiser::new()?);
        Ok(Self { network, weights, gradient, optimiser, classes, norm_place })
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
        let Self { network, weights, gradient, optimiser, .. } = self;
        let &Epoch { seed, client, round, epoch: number, learning_rate: rate, .. } = epoch;
        network.begin(TrainKey { seed, client, round, epoch: number });
        optimiser.begin(epoch.optimiser, weights.len(), number)?;
        let untrained = network.untrained(epoch.frozen);
        let mut report = Report::default();
        for batch in epoch.batches(examples) {
            batch.gather(network.inputs(batch.len()));
            let score = network.gradient(weights, batch.labels(), gradient)?;
            report.sums.add(score.loss_sum, score.correct, batch.len())?;
            epoch.correct(weights, gradient);
            optimiser.step(weights, gradient, rate, &untrained);
            network.move_statistics(weights, epoch.frozen);
            report.steps += 1;
        }
        report.accumulation = optimiser.accumulation(rate, epoch.proximal);
        Ok(report)
    }

    fn evaluate(&mut self, examples: &Examples<'_>) -> Result<Sums> {
        let mut sums = Sums::default();
        for batch in examples.batches(EVALUATION_BATCH) {
            batch.gather(self.network.inputs(batch.len()));
            let score = self.network.score(&self.weights, batch.labels())?;
            sums.add(score.loss_sum, score.correct, batch.len())?;
        }
        Ok(sums)
    }

    fn predict(&mut self, examples: &Examples<'_>, scores: &mut [f32]) -> Result<()> {
        let batches = examples.batches(EVALUATION_BATCH);
        for (batch, scores) in batches.zip(scores.chunks_mut(EVALUATION_BATCH * self.classes)) {
            batch.gather(self.network.inputs(batch.len()));
            scores.iter_mut().zip(self.network.logits(&self.weights)).for_each(|(score, logit)| *score = *logit);
        }
        Ok(())
    }
}

/// Returns the shape of the images, which all convolutions fit.
fn image(options: &Options, task: &Task) -> Result<Shape> {
    let shape = Shape::of(&task.shape);
    let (_, height, width) = shape.dimensions();
    let given = &task.shape;
    if (height, width) == (1, 1) {
        return Err(Error::new(format!(
            "model cnn takes images, of a shape such as [28, 28] or [32, 32, 3], but the examples have the shape \
             {given:?}; take the model mlp"
        )));
    }
    let (channels, kernel) = (options.list::<usize>("channels")?, options.get::<usize>("kernel")?);
    // From the last convolution to the first: pooling leaves one pixel of a square, and a kernel an image smaller by
    // its own side less one.
    let least =
        channels.iter().fold(1usize, |side, _| side.saturating_mul(POOL).saturating_add(kernel.saturating_sub(1)));
    if height < least || width < least {
        let list: Vec<String> = channels.iter().map(usize::to_string).collect();
        let list = list.join(",");
        return Err(Error::new(format!(
            "model cnn with channels={list} and kernel={kernel} takes images of at least {least}×{least}, but the \
             examples have the shape {given:?}; try fewer channels or a smaller kernel"
        )));
    }
    Ok(shape)
}

/// Returns the layers from the first convolution to the scores of the classes.
fn layers(options: &Options, classes: usize) -> Result<Vec<LayerSpec>> {
    let norm = options.get::<Norm>("norm")?.layer();
    let (kernel, rate) = (options.get("kernel")?, options.get::<f32>("dropout")?);
    let mut layers = Vec::new();
    for channels in options.list("channels")? {
        layers.push(LayerSpec::Conv { channels, kernel });
        layers.extend(norm);
        layers.extend([LayerSpec::MaxPool { size: POOL }, LayerSpec::Relu]);
    }
    for outputs in options.list("hidden")? {
        layers.push(LayerSpec::Dense { outputs });
        layers.extend(norm);
        layers.push(LayerSpec::Relu);
        layers.extend((rate != 0.0).then_some(LayerSpec::Dropout { rate }));
    }
    layers.push(LayerSpec::Dense { outputs: classes });
    Ok(layers)
}

export_model!(Cnn);

#[cfg(test)]
mod tests;
