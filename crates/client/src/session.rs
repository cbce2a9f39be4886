//! A built model with its data: answers the requests that follow `Ready`. `train.rs` answers a request to train,
//! `evaluate.rs` one to evaluate.

pub(crate) mod evaluate;
mod mapped;
pub(crate) mod train;

use std::{path::Path, time::Instant};

use abi_stable::std_types::{RSlice, RSliceMut};
use fedpipe_data::{DataError, Partition};
use fedpipe_model::abi::ModelBox;
use fedpipe_protocol::{
    FailureKind, HeldPartition, InForce, Layout, Parts, Ready, Setup, Target, Task, WEIGHTS, feature,
};
use fedpipe_strategy::transform;

use crate::{
    loader::{LoadError, Loaded, answer},
    session::mapped::MappedPartition,
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

/// A built model and its data.
pub(crate) struct Session {
    model: ModelBox,
    layout: Layout,
    seed: u64,
    /// The number of classes; 0 for a real target.
    classes: usize,
    /// The buffer of the method `weights`, as long as the model says. It is never freed, since the pipe may hold its
    /// pages until this process has ended.
    weights: &'static mut [f32],
    /// The weights that the host sent last.
    pub(crate) received: Option<Received>,
    partitions: Vec<(u32, MappedPartition)>,
    test: MappedPartition,
    /// The rows of the examples to visit, in order.
    order: Vec<u32>,
    /// The time at which this client had the whole request.
    pub(crate) asked: Instant,
    /// The begin and the end of each local epoch of the request, in microseconds since then.
    epochs: Vec<[u64; 2]>,
    /// The labels of a request's training rows in the place of the partition's; empty for those.
    flipped: Vec<u32>,
}

/// Weights of the host.
#[derive(Debug)]
pub(crate) struct Received {
    version: u64,
    pub(crate) weights: Vec<f32>,
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
        let classes = if let Target::Classes(classes) = task.target { classes } else { 0 };
        let (options, task) = (json(&setup.options)?, json(task)?);
        let mut ready = describe(loaded)?;
        let named = |error: LoadError| Failure::new(FailureKind::Refused, with_name(&error.to_string(), &ready.name));
        let seed = setup.init_seed.unwrap_or(setup.seed);
        let (model, built) = loaded.build(&options, &task, seed).map_err(named)?;
        let count = answer(model.weight_count()).map_err(Failure::model)?;
        ready.layout = translation::tensors(&built.tensors);
        let layout = Layout::new(ready.layout.clone()).map_err(|error| Failure::new(FailureKind::Refused, error))?;
        let counts =
            |count: fn(&Partition) -> usize| partitions.iter().map(move |(_, held)| count(&held.partition) as u64);
        ready.examples = counts(Partition::training_len).collect();
        if counts(Partition::held_out).any(|count| count > 0) {
            ready.held_out = counts(Partition::held_out).collect();
        }
        let seed = setup.seed;
        let (order, flipped) = (Vec::new(), Vec::new());
        let weights = vec![0.0; count as usize].leak();
        let (asked, epochs) = (Instant::now(), Vec::new());
        let received = None;
        let session =
            Self { model, layout, seed, classes, weights, received, partitions, test, order, flipped, asked, epochs };
        Ok((session, ready))
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

    fn set(&mut self, weights: &[f32]) -> Result<(), Failure> {
        answer(self.model.set_weights(RSlice::from_slice(weights))).map_err(Failure::model)
    }
}

/// Returns the optional abilities of this client, with a model that keeps its momentum or does not.
fn features(keeps_momentum: bool) -> Vec<String> {
    let of_model = keeps_momentum.then(|| feature::KEEPS_MOMENTUM.to_owned());
    feature::ALL.map(str::to_owned).into_iter().chain(of_model).chain(transform::features()).collect()
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
        held_out: Vec::new(),
        features: features(description.keeps_momentum),
        instruction_set: description.instruction_set,
        in_force: InForce::default(),
    })
}

/// Returns a refusal that names the model, if it is that of a task.
fn with_name(refusal: &str, name: &str) -> String {
    let rest = refusal.strip_prefix("the model predicts ");
    rest.map_or_else(|| refusal.to_owned(), |rest| format!("the model {name} predicts {rest}"))
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(FailureKind::Protocol, error))
}

#[cfg(test)]
mod tests;
