//! A model that is one network. An author names its options and its layers; the rest of the trait [`Model`] follows.

use std::{cell::OnceCell, marker::PhantomData};

use fedpipe_model::{
    Batch, Description, Epoch, Examples, Kind, Layout, Model, Options, Place, Report, Result, Sums, Target, Task,
    Tensor,
};

use crate::{
    buffer::{Buffer, zeros},
    isa::Isa,
    layer::{TensorRole, TrainKey},
    loss::{ExampleTarget, Score},
    network::Network,
    optimiser::Optimiser,
};

/// The layers of a model, and their options. [`NetworkModel`] makes a [`Model`] of it.
///
/// ```
/// use fedpipe_model::{Description, Options, Result, Task, export_model};
/// use fedpipe_nn::{Architecture, Network, NetworkModel};
///
/// struct Mine;
///
/// impl Architecture for Mine {
///     fn describe() -> Description {
///         Description::new("mine", "0.1.0", "one hidden layer").option("width", "32", "width of the hidden layer")
///     }
///
///     fn network(options: &Options, task: &Task) -> Result<Network> {
///         Ok(Network::new(&[task.inputs(), options.get("width")?, task.outputs()])?)
///     }
/// }
///
/// export_model!(NetworkModel<Mine>);
/// ```
pub trait Architecture: 'static {
    /// The number of examples in a batch of an evaluation. The values of a larger batch should not fit into the L2
    /// cache.
    const EVALUATION_BATCH: usize = 100;

    /// `true` if all initial weights are 0, for every seed, as a convex loss allows.
    const STARTS_AT_ZERO: bool = false;

    /// Returns the name, the version and the options, without the instruction set.
    fn describe() -> Description;

    /// Returns the network, whose outputs are [`Task::outputs`].
    ///
    /// # Errors
    /// A value of an option, or a task, that does not suit this model.
    fn network(options: &Options, task: &Task) -> Result<Network>;

    /// Returns the place of the tensors of norms.
    ///
    /// # Errors
    /// A value of an option that does not suit this model.
    fn norm_place(_options: &Options) -> Result<Place> {
        Ok(Place::Shared)
    }
}

/// The model of an [`Architecture`].
#[derive(Debug)]
pub struct NetworkModel<A> {
    network: Network,
    seed: u64,
    /// The weights, made from the seed when they are first asked for. Only one client of a run is asked; the others
    /// receive weights and start a third faster.
    weights: OnceCell<Buffer>,
    /// The gradient. A plain epoch needs none, so that the buffer is allocated later.
    gradient: Buffer,
    optimiser: Optimiser,
    task: Task,
    norm_place: Place,
    architecture: PhantomData<A>,
}

impl<A: Architecture> Model for NetworkModel<A> {
    fn describe() -> Description {
        A::describe().instruction_set(Isa::current().map_or("", Isa::name)).keeps_momentum()
    }

    fn build(options: &Options, task: &Task, seed: u64) -> Result<Self> {
        Ok(Self {
            norm_place: A::norm_place(options)?,
            network: A::network(options, task)?,
            seed,
            weights: OnceCell::new(),
            gradient: zeros(0),
            optimiser: Optimiser::new()?,
            task: task.clone(),
            architecture: PhantomData,
        })
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
        self.weights.get_or_init(|| initial::<A>(&self.network, self.seed))
    }

    fn weights_mut(&mut self) -> &mut [f32] {
        own::<A>(&mut self.weights, &self.network, self.seed)
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
        let weights = own::<A>(&mut self.weights, &self.network, self.seed);
        let batches = examples.batches(A::EVALUATION_BATCH);
        for (batch, scores) in batches.zip(scores.chunks_mut(A::EVALUATION_BATCH * self.task.outputs())) {
            batch.gather(self.network.inputs(batch.len()));
            scores.iter_mut().zip(self.network.logits(weights)).for_each(|(score, logit)| *score = *logit);
        }
        Ok(())
    }
}

impl<A: Architecture> NetworkModel<A> {
    /// Trains on the targets that `targets` returns for a batch.
    fn train<'e, I: IntoIterator<Item: ExampleTarget>>(
        &mut self,
        examples: &Examples<'e>,
        epoch: &Epoch<'_>,
        targets: impl Fn(&Batch<'e>) -> I,
    ) -> Result<Report> {
        let Self { network, optimiser, gradient, task, .. } = self;
        let weights = own::<A>(&mut self.weights, network, self.seed);
        let &Epoch { seed, client, round, epoch: number, learning_rate: rate, .. } = epoch;
        optimiser.begin(epoch.optimiser, weights.len(), number)?;
        network.begin(TrainKey { seed, client, round, epoch: number });
        let untrained = network.untrained(epoch.frozen);
        if !epoch.is_plain() {
            gradient.resize(weights.len(), 0.0);
        }
        let mut report = Report::default();
        for batch in epoch.batches(examples) {
            batch.gather(network.inputs(batch.len()));
            let score = if epoch.is_plain() {
                network.step(weights, targets(&batch), optimiser, rate)?
            } else {
                let score = network.gradient(weights, targets(&batch), gradient)?;
                epoch.correct(weights, gradient);
                optimiser.step(weights, gradient, rate, &untrained);
                network.move_statistics(weights, epoch.frozen);
                score
            };
            add(&mut report.sums, score, network, &batch, task.target)?;
            report.steps += 1;
        }
        report.accumulation = optimiser.accumulation(rate, epoch.proximal);
        Ok(report)
    }

    /// Sums the scores of the targets that `targets` returns for a batch.
    fn score<'e, I: IntoIterator<Item: ExampleTarget>>(
        &mut self,
        examples: &Examples<'e>,
        targets: impl Fn(&Batch<'e>) -> I,
    ) -> Result<Sums> {
        let weights = own::<A>(&mut self.weights, &self.network, self.seed);
        let mut sums = Sums::default();
        for batch in examples.batches(A::EVALUATION_BATCH) {
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

/// Returns the initial weights.
fn initial<A: Architecture>(network: &Network, seed: u64) -> Buffer {
    if A::STARTS_AT_ZERO { zeros(network.weight_count()) } else { network.init(seed) }
}

/// Returns the weights, and makes them from the seed if they do not exist.
fn own<'w, A: Architecture>(weights: &'w mut OnceCell<Buffer>, network: &Network, seed: u64) -> &'w mut Buffer {
    weights.get_or_init(|| initial::<A>(network, seed));
    weights.get_mut().expect("weights exist")
}

#[cfg(test)]
mod tests;
