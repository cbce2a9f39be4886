//! Training: the phases of a request, each with its epochs, and the update that they give.

use std::{borrow::Cow, time::Instant};

use abi_stable::std_types::{RSlice, RSliceMut, RStr};
use fedpipe_data::counted;
use fedpipe_model::abi::AbiEpoch;
use fedpipe_protocol::{
    ANCHOR, LINEAR, LOCAL, Layout, MOMENTUM, PartData, Parts, Phase, PhaseStart, RESIDUAL, SCORED_ROWS, ScoreStart,
    StartScore, Train, Update, with_local,
};
use fedpipe_random::{
    key::{Key, Use},
    order::order,
};
use fedpipe_strategy::transform::{Encoded, chain::Transforms};

use crate::{
    loader::answer,
    session::{
        Failure, Session,
        mapped::{checked, examples, relabelled},
        protocol,
    },
};

/// The parts of a request to train, besides the weights.
struct TrainParts {
    /// The values of the local tensors, in layout order; empty for those of the received weights.
    local: Vec<f32>,
    anchor: Vec<f32>,
    linear: Vec<f32>,
    /// The client's residual: what was not sent of its changes so far; empty before its first accepted update.
    residual: Vec<f32>,
    /// The momentum with which the local optimiser begins; empty before the client's first accepted update.
    momentum: Vec<f32>,
    /// The weights from which a phase starts, by phase.
    starts: Vec<Option<Vec<f32>>>,
}

/// An update with its parts besides the plain weights, which are those of the model.
#[derive(Debug)]
pub(crate) struct Trained {
    pub(crate) update: Update,
    /// The encoded change, with the new residual; none if the update is the plain weights.
    pub(crate) encoded: Option<Vec<(String, PartData)>>,
    /// The weights after each phase that is no update, and the momentum that is kept.
    pub(crate) slots: Vec<(String, PartData)>,
}

impl Session {
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
        let transforms = Transforms::of_texts(&train.transforms).map_err(protocol)?;
        self.set(start)?;
        self.flip_labels(train)?;
        let start_score = train.score_start.map(|rows| self.score_start(train.client, rows)).transpose()?;
        self.epochs.clear();
        let mut next_epoch = 0;
        let mut slots = Vec::new();
        let (mut update, mut momentum) = (None, None);
        // The weights of the update, if a later phase moves the model on.
        let mut updated = None;
        for (index, phase) in train.phases.iter().enumerate() {
            self.set_start(index, phase.start, start, parts)?;
            // Phases that do not follow each other visit the examples in the same orders.
            // A first phase follows none, whatever its start is called.
            if index == 0 || phase.start != PhaseStart::Previous {
                next_epoch = 0;
                self.set_momentum(train, &parts.momentum)?;
            }
            let rules = PhaseRules::new(phase, parts, start, &self.layout)?;
            let trained = self.do_phase(train, phase, &rules, &mut next_epoch)?;
            if phase.update {
                (update, momentum) = (Some(trained), self.momentum(train)?);
                updated = if index + 1 < train.phases.len() { Some(self.weights()?.to_vec()) } else { None };
            } else {
                slots.push((format!("slot/{index}"), PartData::F32(self.weights()?.to_vec())));
            }
        }
        let update = update.ok_or_else(|| protocol("no phase of the request is the update"))?;
        slots.extend(momentum.map(|momentum| (MOMENTUM.to_owned(), PartData::F32(momentum))));
        updated.map_or(Ok(()), |weights: Vec<f32>| self.set(&weights))?;
        let encoded = (!transforms.is_empty()).then(|| self.encode(train, &transforms, (start, &parts.residual)));
        let encoded = encoded.transpose()?;
        let epochs = std::mem::take(&mut self.epochs);
        Ok(Trained { update: Update { start: start_score, epochs, ..update }, encoded, slots })
    }

    /// Flips the labels of the training rows, if the request asks for it: y becomes C − 1 − y.
    fn flip_labels(&mut self, train: &Train) -> Result<(), Failure> {
        self.flipped.clear();
        if !train.flip_labels {
            return Ok(());
        }
        let Some(last) = self.classes.checked_sub(1) else {
            return Err(protocol("the request flips labels, and a real target has none"));
        };
        let labels = checked(&mut self.partitions, train.client)?.labels();
        self.flipped.extend(labels.iter().map(|label| last as u32 - label));
        Ok(())
    }

    /// Sets the weights from which the phase with this index starts.
    fn set_start(
        &mut self,
        index: usize,
        from: PhaseStart,
        received: &[f32],
        parts: &TrainParts,
    ) -> Result<(), Failure> {
        match from {
            PhaseStart::Previous => Ok(()),
            PhaseStart::Received if index == 0 => Ok(()),
            PhaseStart::Received => self.set(received),
            PhaseStart::Slot => {
                let slot = parts.starts.get(index).and_then(Option::as_ref);
                self.set(slot.ok_or_else(|| protocol(format!("the request has no part \"start/{index}\"")))?)
            }
        }
    }

    /// Sets the momentum with which the local optimiser begins, if the request has it kept.
    fn set_momentum(&mut self, train: &Train, momentum: &[f32]) -> Result<(), Failure> {
        if !train.keeps_momentum {
            return Ok(());
        }
        let momentum =
            if momentum.is_empty() { Cow::Owned(vec![0.0; self.weight_count()]) } else { Cow::Borrowed(momentum) };
        answer(self.model.set_momentum(RSlice::from_slice(&momentum))).map_err(Failure::model)
    }

    /// Returns the momentum of the local optimiser, if the request has it kept.
    fn momentum(&self, train: &Train) -> Result<Option<Vec<f32>>, Failure> {
        if !train.keeps_momentum {
            return Ok(None);
        }
        let mut momentum = vec![0.0; self.weight_count()];
        answer(self.model.get_momentum(RSliceMut::from_mut_slice(&mut momentum))).map_err(Failure::model)?;
        Ok(Some(momentum))
    }

    /// Returns the update of a training that has not begun.
    fn plain_update(&mut self, train: &Train) -> Result<Update, Failure> {
        let Train { client, round, .. } = *train;
        let examples = checked(&mut self.partitions, client)?.training_len() as u64;
        let all = Update::plain(client, round, examples);
        Ok(Update { steps: 0, accumulation: None, loss_sum: 0.0, scored: 0, ..all })
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
            self.order = order(&key, partition.training_len() as u32);
            let batch_size =
                phase.batch_size.map_or(train.batch_size, |size| size.min(partition.training_len() as u64));
            let abi_epoch =
                AbiEpoch { step_limit: left.unwrap_or(0), batch_size, ..rules.epoch(train, self.seed, epoch) };
            let begin = micros_since(self.asked);
            let report =
                answer(self.model.train_epoch(relabelled(examples(partition, &self.order), &self.flipped), abi_epoch));
            let report = report.map_err(Failure::model)?;
            self.epochs.push([begin, micros_since(self.asked)]);
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
        let all = partition.training_len() as u32;
        self.order = match rows {
            ScoreStart::All => (0..all).collect(),
            ScoreStart::Rows => {
                let key = Key { seed: self.seed, purpose: Use::Score, client, round: 0, epoch: 0 };
                let mut rows = order(&key, all);
                rows.truncate(SCORED_ROWS);
                rows
            }
        };
        let scored = relabelled(examples(partition, &self.order), &self.flipped);
        let sums = answer(self.model.evaluate(scored)).map_err(Failure::model)?;
        Ok(StartScore { loss_sum: sums.loss_sum, examples: sums.examples })
    }

    /// Returns the parts of the change of the model's weights from `start`, and of the client's new residual.
    fn encode(
        &mut self,
        train: &Train,
        transforms: &Transforms,
        (start, residual): (&[f32], &[f32]),
    ) -> Result<Vec<(String, PartData)>, Failure> {
        let Train { client, round, .. } = *train;
        let key = Key { seed: self.seed, purpose: Use::Transform, client, round, epoch: 0 };
        let change = self.weights()?.iter().zip(start).map(|(after, before)| after - before).collect();
        let Encoded { parts, residual } = transforms.encode(change, residual, &key);
        let residual = residual.map(|residual| (RESIDUAL, PartData::F32(residual)));
        Ok(parts.into_iter().chain(residual).map(|(name, data)| (name.to_owned(), data)).collect())
    }
}

fn micros_since(start: Instant) -> u64 {
    start.elapsed().as_micros() as u64
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
            residual: take(RESIDUAL, weights)?.unwrap_or_default(),
            momentum: take(MOMENTUM, weights)?.unwrap_or_default(),
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
        let flags = layout.tensors().iter().map(|tensor| flag(&tensor.name));
        let trainable = if phase.frozen.is_empty() { Vec::new() } else { flags.collect() };
        let linear: &[f32] = if phase.linear { &parts.linear } else { &[] };
        if phase.linear && linear.is_empty() {
            return Err(protocol("the request has no part \"linear\""));
        }
        let anchor: &[f32] = if phase.proximal == 0.0 {
            &[]
        } else if parts.anchor.is_empty() {
            start
        } else {
            &parts.anchor
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
