//! A built model with its data: answers the requests that follow `Ready`.

use std::path::{Path, PathBuf};

use abi_stable::std_types::{RSlice, RSliceMut, RStr};
use fedpipe_data::{DataError, Partition, Pixels, counted};
use fedpipe_model::abi::{AbiEpoch, AbiExamples, ModelBox};
use fedpipe_protocol::{
    ANCHOR, BlockSums, EVALUATION_BLOCK, Evaluate, FailureKind, HeldPartition, InForce, LINEAR, LOCAL, Layout,
    PartData, Parts, Phase, PhaseStart, Ready, SCORED_ROWS, ScoreStart, Setup, StartScore, Task, Train, Update,
    WEIGHTS, feature, with_local,
};
use fedpipe_random::{
    key::{Key, Use},
    order::order,
};
use fedpipe_strategy::transform::{self, Transform};

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
    layout: Layout,
    seed: u64,
    /// The buffer of the method `weights`, as long as the model says. It is never freed, since the pipe may hold its
    /// pages until this process has ended.
    weights: &'static mut [f32],
    /// The weights that the host sent last.
    pub(crate) received: Option<Received>,
    partitions: Vec<(u32, MappedPartition)>,
    test: MappedPartition,
    /// The rows of the examples to visit, in order.
    order: Vec<u32>,
}

/// Weights of the host.
#[derive(Debug)]
pub(crate) struct Received {
    version: u64,
    pub(crate) weights: Vec<f32>,
}

/// The parts of a request to train, besides the weights.
struct TrainParts {
    /// The values of the local tensors, in layout order; empty for those of the received weights.
    local: Vec<f32>,
    anchor: Vec<f32>,
    linear: Vec<f32>,
    /// The weights from which a phase starts, by phase.
    starts: Vec<Option<Vec<f32>>>,
}

/// An update with its parts besides the plain weights, which are those of the model.
#[derive(Debug)]
pub(crate) struct Trained {
    pub(crate) update: Update,
    /// The encoded change; none if the update is the plain weights.
    pub(crate) encoded: Option<Vec<(String, PartData)>>,
    /// The weights after each phase that is no update.
    pub(crate) slots: Vec<(String, PartData)>,
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
        let (model, built) = loaded.build(&options, &task, setup.init_seed.unwrap_or(setup.seed)).map_err(refused)?;
        let count = answer(model.weight_count()).map_err(Failure::model)?;
        ready.layout = translation::tensors(&built.tensors);
        let layout = Layout::new(ready.layout.clone()).map_err(|error| Failure::new(FailureKind::Refused, error))?;
        ready.examples = partitions.iter().map(|(_, mapped)| mapped.partition.len() as u64).collect();
        let (seed, order) = (setup.seed, Vec::new());
        let weights = vec![0.0; count as usize].leak();
        Ok((Self { model, layout, seed, weights, received: None, partitions, test, order }, ready))
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

    /// Takes the weights of a request, or keeps those of an earlier one if they have the `version`.
    pub(crate) fn receive(&mut self, version: u64, parts: &mut Parts) -> Result<(), Failure> {
        if let Some(weights) = parts.take_f32(WEIGHTS) {
            self.received = Some(Received { version, weights });
        }
        match &self.received {
            Some(received) if received.version == version => Ok(()),
            Some(Received { version: held, .. }) => Err(protocol(format!(
                "the request has no part \"weights\" and names version {version}; this client has version {held}"
            ))),
            None => Err(protocol("the request has no part \"weights\", and no earlier request had one")),
        }
    }

    /// Sets the model's weights to those that the host sent last.
    pub(crate) fn use_received(&mut self) -> Result<(), Failure> {
        let Some(Received { weights, .. }) = &self.received else {
            return Err(protocol("no request has sent weights"));
        };
        answer(self.model.set_weights(RSlice::from_slice(weights))).map_err(Failure::model)
    }

    /// Trains on the partition that `train` names. [`Session::weights`] then returns the new weights.
    pub(crate) fn train(&mut self, train: &Train, mut parts: Parts) -> Result<Trained, Failure> {
        let parts = TrainParts::take(&mut parts, train, &self.layout)?;
        let Some(received) = self.received.take() else { return Err(protocol("no request has sent weights")) };
        let trained = {
            let start = with_local(&received.weights, &parts.local, self.layout.local_ranges());
            self.train_from(&start, train, &parts)
        };
        self.received = Some(received);
        trained
    }

    fn train_from(&mut self, start: &[f32], train: &Train, parts: &TrainParts) -> Result<Trained, Failure> {
        let transform = train.transform.as_deref().map(transform::parse).transpose().map_err(protocol)?;
        let mut update = self.plain_update(train)?;
        self.set(start)?;
        update.start = train.score_start.map(|rows| self.score_start(train.client, rows)).transpose()?;
        let (mut slots, mut next_epoch) = (Vec::new(), 0);
        // The weights of the update, if a later phase moves the model on.
        let (mut is_trained, mut updated) = (false, None);
        for (index, phase) in train.phases.iter().enumerate() {
            match phase.start {
                PhaseStart::Previous => {}
                PhaseStart::Received if index == 0 => {}
                PhaseStart::Received => self.set(start)?,
                PhaseStart::Slot => {
                    let slot = parts.starts.get(index).and_then(Option::as_ref);
                    let missing = || protocol(format!("the request has no part \"start/{index}\""));
                    self.set(slot.ok_or_else(missing)?)?;
                }
            }
            // Phases that do not follow each other visit the examples in the same orders.
            next_epoch = if phase.start == PhaseStart::Previous { next_epoch } else { 0 };
            let rules = PhaseRules::new(phase, parts, start, &self.layout)?;
            let trained = self.do_phase(train, phase, &rules, &mut next_epoch)?;
            if phase.update {
                update = Update { start: update.start, ..trained };
                is_trained = true;
                updated = if index + 1 < train.phases.len() { Some(self.weights()?.to_vec()) } else { None };
            } else {
                slots.push((format!("slot/{index}"), PartData::F32(self.weights()?.to_vec())));
            }
        }
        if !is_trained {
            return Err(protocol("no phase of the request is the update"));
        }
        updated.map_or(Ok(()), |weights: Vec<f32>| self.set(&weights))?;
        let encoded = transform.map(|transform| self.encode(train, &*transform, start)).transpose()?;
        Ok(Trained { update, encoded, slots })
    }

    fn set(&mut self, weights: &[f32]) -> Result<(), Failure> {
        answer(self.model.set_weights(RSlice::from_slice(weights))).map_err(Failure::model)
    }

    /// Returns the update of a training that has not begun.
    fn plain_update(&mut self, train: &Train) -> Result<Update, Failure> {
        let Train { client, round, .. } = *train;
        let examples = checked(&mut self.partitions, client)?.len() as u64;
        let (steps, accumulation, loss_sum, correct, scored, start) = (0, None, 0.0, 0, 0, None);
        Ok(Update { client, round, steps, accumulation, loss_sum, correct, scored, examples, start })
    }

    /// Trains one phase; `next_epoch` is the local epoch that comes next.
    fn do_phase(
        &mut self,
        train: &Train,
        phase: &Phase,
        rules: &PhaseRules<'_>,
        next_epoch: &mut u64,
    ) -> Result<Update, Failure> {
        let mut update = self.plain_update(train)?;
        let Train { client, round, .. } = *train;
        let partition = checked(&mut self.partitions, client)?;
        for _ in 0..phase.epochs {
            let left = phase.steps.map(|limit| limit.saturating_sub(update.steps));
            if left == Some(0) {
                break;
            }
            let epoch = *next_epoch;
            *next_epoch += 1;
            let key = Key { seed: self.seed, purpose: Use::Shuffle, client, round, epoch };
            self.order = order(&key, partition.len() as u32);
            let abi_epoch = AbiEpoch { step_limit: left.unwrap_or(0), ..rules.epoch(train, self.seed, epoch) };
            let report = answer(self.model.train_epoch(examples(partition, &self.order), abi_epoch));
            let report = report.map_err(Failure::model)?;
            update.steps += report.steps;
            update.accumulation = Some(report.accumulation).filter(|a| a.is_finite());
            (update.loss_sum, update.correct) = (report.sums.loss_sum, report.sums.correct);
            update.scored = report.sums.examples;
        }
        Ok(update)
    }

    /// Scores the model's weights on training rows: the same ones in each round.
    fn score_start(&mut self, client: u32, rows: ScoreStart) -> Result<StartScore, Failure> {
        let partition = checked(&mut self.partitions, client)?;
        let all = partition.len() as u32;
        self.order = match rows {
            ScoreStart::All => (0..all).collect(),
            ScoreStart::Rows => {
                let key = Key { seed: self.seed, purpose: Use::Score, client, round: 0, epoch: 0 };
                let mut rows = order(&key, all);
                rows.truncate(SCORED_ROWS);
                rows
            }
        };
        let sums = answer(self.model.evaluate(examples(partition, &self.order))).map_err(Failure::model)?;
        Ok(StartScore { loss_sum: sums.loss_sum, examples: sums.examples })
    }

    /// Encodes the change of the model's weights from `start`.
    fn encode(
        &mut self,
        train: &Train,
        transform: &dyn Transform,
        start: &[f32],
    ) -> Result<Vec<(String, PartData)>, Failure> {
        let Train { client, round, .. } = *train;
        let key = Key { seed: self.seed, purpose: Use::Transform, client, round, epoch: 0 };
        let change: Vec<f32> = self.weights()?.iter().zip(start).map(|(after, before)| after - before).collect();
        Ok(transform.encode(&change, &key).into_iter().map(|(name, data)| (name.to_owned(), data)).collect())
    }

    /// Evaluates the model's weights on blocks of the test set, or of a client's partition.
    pub(crate) fn evaluate(&mut self, request: &Evaluate) -> Result<Vec<BlockSums>, Failure> {
        let scored = match request.client {
            Some(client) => checked(&mut self.partitions, client)?,
            None => self.test.checked()?,
        };
        let sums = |&block: &u32| {
            let start = block as usize * EVALUATION_BLOCK;
            let end = (start + EVALUATION_BLOCK).min(scored.len());
            if start >= end {
                let all = counted(scored.len(), "example");
                return Err(protocol(format!("block {block} is beyond the {all} that are scored")));
            }
            self.order.clear();
            self.order.extend(start as u32..end as u32);
            let sums = answer(self.model.evaluate(examples(scored, &self.order))).map_err(Failure::model)?;
            Ok(BlockSums { block, loss_sum: sums.loss_sum, correct: sums.correct, examples: sums.examples })
        };
        request.blocks.iter().map(sums).collect()
    }
}

impl TrainParts {
    /// Takes the parts of a request, each of the length that follows from the layout.
    fn take(parts: &mut Parts, train: &Train, layout: &Layout) -> Result<Self, Failure> {
        let local = layout.local_ranges().map(|range| range.len()).sum();
        let mut take = |name: &str, length: usize| match parts.take_f32(name) {
            Some(values) if values.len() != length => {
                let given = counted(values.len(), "value");
                Err(protocol(format!("the part {name:?} has {given}, expected {length}")))
            }
            values => Ok(values),
        };
        let weights = layout.weight_count();
        let start = |index: usize| take(&format!("start/{index}"), weights);
        let starts = (0..train.phases.len()).map(start).collect::<Result<_, _>>()?;
        Ok(Self {
            local: take(LOCAL, local)?.unwrap_or_default(),
            anchor: take(ANCHOR, weights)?.unwrap_or_default(),
            linear: take(LINEAR, weights)?.unwrap_or_default(),
            starts,
        })
    }
}

/// The rules of a phase, as the model gets them.
struct PhaseRules<'a> {
    /// For each tensor 1 if it is trained and 0 if it is frozen; empty if all are trained.
    trainable: Vec<u8>,
    proximal: f32,
    anchor: &'a [f32],
    linear: &'a [f32],
}

impl<'a> PhaseRules<'a> {
    fn new(phase: &Phase, parts: &'a TrainParts, start: &'a [f32], layout: &Layout) -> Result<Self, Failure> {
        if let Some(unknown) = phase.frozen.iter().find(|name| layout.tensors().iter().all(|t| t.name != **name)) {
            return Err(protocol(format!("the phase freezes the tensor {unknown:?}, which the model does not have")));
        }
        let flag = |name: &String| u8::from(!phase.frozen.contains(name));
        let trainable = match phase.frozen.is_empty() {
            true => Vec::new(),
            false => layout.tensors().iter().map(|tensor| flag(&tensor.name)).collect(),
        };
        let linear: &[f32] = if phase.linear { &parts.linear } else { &[] };
        if phase.linear && linear.is_empty() {
            return Err(protocol("the request has no part \"linear\""));
        }
        let anchor: &[f32] = match phase.proximal == 0.0 {
            true => &[],
            false if parts.anchor.is_empty() => start,
            false => &parts.anchor,
        };
        Ok(Self { trainable, proximal: phase.proximal, anchor, linear })
    }

    fn epoch<'e>(&'e self, train: &'e Train, seed: u64, epoch: u64) -> AbiEpoch<'e> {
        AbiEpoch {
            seed,
            round: train.round,
            client: train.client,
            epoch,
            learning_rate: train.learning_rate,
            batch_size: train.batch_size,
            optimiser: RStr::from(train.optimiser.as_str()),
            step_limit: 0,
            trainable: RSlice::from_slice(&self.trainable),
            proximal: self.proximal,
            anchor: RSlice::from_slice(self.anchor),
            linear: RSlice::from_slice(self.linear),
        }
    }
}

/// Returns the partition of a client that this process holds, after its first check.
fn checked(partitions: &mut [(u32, MappedPartition)], client: u32) -> Result<&Partition, Failure> {
    let held = partitions.iter_mut().find(|(held, _)| *held == client);
    let missing = || protocol(format!("this client does not hold the partition of client {client}"));
    held.ok_or_else(missing)?.1.checked()
}

/// Returns the optional abilities of this client.
fn features() -> Vec<String> {
    feature::ALL.map(str::to_owned).into_iter().chain(transform::features()).collect()
}

fn protocol(why: impl ToString) -> Failure {
    Failure::new(FailureKind::Protocol, why)
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
        features: features(),
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

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(FailureKind::Protocol, error))
}

#[cfg(test)]
mod tests;
