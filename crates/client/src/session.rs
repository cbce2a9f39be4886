//! A built model with its data: answers the requests that follow `Ready`.

use std::path::{Path, PathBuf};

use abi_stable::std_types::{RSlice, RSliceMut, RStr};
use fedpipe_data::{DataError, Partition, Pixels, counted};
use fedpipe_model::abi::{AbiEpoch, AbiExamples, ModelBox};
use fedpipe_protocol::{
    BlockSums, EVALUATION_BLOCK, FailureKind, HeldPartition, InForce, Layout, Ready, Setup, Task, Train, Update,
};
use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

use crate::{
    loader::{LoadError, Loaded, answer},
    translation,
};

/// The failure that a client reports in place of a reply.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl ToString) -> Self {
        Self { kind, message: message.to_string() }
    }

    fn data(error: DataError) -> Self {
        Self::new(FailureKind::Data, error)
    }

    fn model(error: LoadError) -> Self {
        Self::new(FailureKind::Model, error)
    }
}

/// A mapped partition file. Its contents are checked before their first use.
struct MappedPartition {
    partition: Partition,
    /// The path and the expected hash of the file, until the check.
    unchecked: Option<(PathBuf, String)>,
}

impl MappedPartition {
    fn open(path: &Path, sha256: &Option<String>, task: &Task) -> Result<Self, Failure> {
        let unchecked = sha256.clone().map(|sha256| (path.to_owned(), sha256));
        Ok(Self { partition: open(path, task)?, unchecked })
    }

    /// Returns the partition after checking that its contents have the expected hash.
    fn checked(&mut self) -> Result<&Partition, Failure> {
        if let Some((path, sha256)) = &self.unchecked {
            self.partition.check_sha256(sha256, path).map_err(Failure::data)?;
            self.unchecked = None;
        }
        Ok(&self.partition)
    }
}

/// A built model and its data.
pub(crate) struct Session {
    model: ModelBox,
    seed: u64,
    /// The buffer of the method `weights`, as long as the model says. It is never freed, since the pipe may hold its
    /// pages until this process has ended.
    weights: &'static mut [f32],
    /// The weights that the host sent last.
    pub(crate) received: Option<Vec<f32>>,
    partitions: Vec<(u32, MappedPartition)>,
    test: MappedPartition,
    /// The rows of the examples to visit, in order.
    order: Vec<u32>,
}

impl Session {
    /// Builds the model for `task` and maps the data.
    ///
    /// The partition of a process that has only one is checked at once. Other data are checked at their first use,
    /// since most of many clients are not sampled, and few processes evaluate.
    pub(crate) fn start(
        loaded: Loaded,
        setup: &Setup,
        task: &Task,
        held: &[HeldPartition],
        test: &Path,
    ) -> Result<(Self, Ready), Failure> {
        let partitions =
            held.iter().map(|held| Ok((held.client, MappedPartition::open(&held.path, &held.sha256, task)?)));
        let mut partitions = partitions.collect::<Result<Vec<_>, Failure>>()?;
        if let [(_, only)] = &mut partitions[..] {
            only.checked()?;
        }
        let test = MappedPartition::open(test, &setup.test_sha256, task)?;
        let (options, task) = (json(&setup.options)?, json(task)?);
        let refused = |error| Failure::new(FailureKind::Refused, error);
        let mut ready = describe(loaded)?;
        let (model, layout) = loaded.build(&options, &task, setup.seed).map_err(refused)?;
        let count = answer(model.weight_count()).map_err(Failure::model)?;
        ready.layout = translation::tensors(&layout.tensors);
        Layout::new(ready.layout.clone()).map_err(|error| Failure::new(FailureKind::Refused, error))?;
        ready.examples = partitions.iter().map(|(_, mapped)| mapped.partition.len() as u64).collect();
        let (seed, order) = (setup.seed, Vec::new());
        let weights = vec![0.0; count as usize].leak();
        Ok((Self { model, seed, weights, received: None, partitions, test, order }, ready))
    }

    /// Returns the number of weights of the model.
    pub(crate) fn weight_count(&self) -> usize {
        self.weights.len()
    }

    /// Returns the current weights of the model.
    pub(crate) fn weights(&mut self) -> Result<&[f32], Failure> {
        answer(self.model.get_weights(RSliceMut::from_mut_slice(self.weights))).map_err(Failure::model)?;
        Ok(self.weights)
    }

    /// Sets the model's weights to those that the host sent last.
    pub(crate) fn set_weights(&mut self) -> Result<(), Failure> {
        let missing = || {
            Failure::new(FailureKind::Protocol, "the request has no part \"weights\", and no earlier request had one")
        };
        let received = self.received.as_deref().ok_or_else(missing)?;
        answer(self.model.set_weights(RSlice::from_slice(received))).map_err(Failure::model)
    }

    /// Trains on the partition that `train` names. [`Session::weights`] then returns the new weights.
    pub(crate) fn train(&mut self, train: &Train) -> Result<Update, Failure> {
        let held = self.partitions.iter_mut().find(|(client, _)| *client == train.client);
        let Some((_, mapped)) = held else {
            let message = format!("this client does not hold the partition of client {}", train.client);
            return Err(Failure::new(FailureKind::Protocol, message));
        };
        let partition = mapped.checked()?;
        let mut update = Update {
            client: train.client,
            round: train.round,
            steps: 0,
            accumulation: None,
            loss_sum: 0.0,
            correct: 0,
            examples: partition.len() as u64,
        };
        for epoch in 0..train.epochs {
            let Train { client, round, .. } = *train;
            let key = Key { seed: self.seed, purpose: Use::Shuffle, client, round, epoch };
            self.order = order(&key, partition.len() as u32);
            let examples = examples(partition, &self.order);
            let report = answer(self.model.train_epoch(examples, abi_epoch(train, self.seed, epoch)));
            let report = report.map_err(Failure::model)?;
            update.steps += report.steps;
            update.accumulation = Some(report.accumulation).filter(|a| a.is_finite());
            update.loss_sum = report.sums.loss_sum;
            update.correct = report.sums.correct;
        }
        Ok(update)
    }

    /// Evaluates one block of the test set.
    pub(crate) fn evaluate(&mut self, block: u32) -> Result<BlockSums, Failure> {
        let test = self.test.checked()?;
        let start = block as usize * EVALUATION_BLOCK;
        let end = (start + EVALUATION_BLOCK).min(test.len());
        if start >= end {
            let message = format!("block {block} is beyond the test set of {}", counted(test.len(), "example"));
            return Err(Failure::new(FailureKind::Protocol, message));
        }
        self.order.clear();
        self.order.extend(start as u32..end as u32);
        let sums = answer(self.model.evaluate(examples(test, &self.order))).map_err(Failure::model)?;
        Ok(BlockSums { block, loss_sum: sums.loss_sum, correct: sums.correct, examples: sums.examples })
    }
}

/// Returns the description of a model that is not built.
pub(crate) fn describe(loaded: Loaded) -> Result<Ready, Failure> {
    let description = loaded.describe().map_err(Failure::model)?;
    Ok(Ready {
        name: description.name,
        version: description.version,
        summary: description.summary,
        options: translation::options(&description.options),
        layout: Vec::new(),
        examples: Vec::new(),
        keeps_weights: true,
        in_force: InForce::default(),
    })
}

/// Maps a partition file and checks that it fits the task, since a file of the client's own may have any content.
fn open(path: &Path, task: &Task) -> Result<Partition, Failure> {
    let partition = Partition::open(path).map_err(Failure::data)?;
    partition.check_labels(task.classes as u32, path).map_err(Failure::data)?;
    match partition.shape() == task.shape {
        true => Ok(partition),
        false => {
            let (shape, file) = (partition.shape(), path.display());
            let message = format!("{file} has examples of shape {shape:?}, the task says {:?}", task.shape);
            Err(Failure::new(FailureKind::Data, message))
        }
    }
}

fn examples<'a>(partition: &'a Partition, order: &'a [u32]) -> AbiExamples<'a> {
    let (is_bytes, bytes, floats): (_, &[u8], &[f32]) = match partition.pixels() {
        Pixels::U8(pixels) => (true, pixels, &[]),
        Pixels::F32(values) => (false, &[], values),
    };
    AbiExamples {
        is_bytes,
        bytes: RSlice::from_slice(bytes),
        floats: RSlice::from_slice(floats),
        row_len: partition.shape().iter().product::<usize>() as u64,
        labels: RSlice::from_slice(partition.labels()),
        order: RSlice::from_slice(order),
    }
}

fn abi_epoch(train: &Train, seed: u64, epoch: u64) -> AbiEpoch<'_> {
    AbiEpoch {
        seed,
        round: train.round,
        client: train.client,
        epoch,
        learning_rate: train.learning_rate,
        batch_size: train.batch_size,
        optimiser: RStr::from(train.optimiser.as_str()),
        step_limit: 0,
        trainable: RSlice::EMPTY,
        proximal: 0.0,
        anchor: RSlice::EMPTY,
        linear: RSlice::EMPTY,
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(FailureKind::Protocol, error))
}
