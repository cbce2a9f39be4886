//! A request to train, and its result.

use serde::{Deserialize, Serialize};

use crate::message::number_or_null;

/// A request to train from the weights in the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// The client whose partition is used.
    pub client: u32,
    /// The round, from 1. The order of examples depends on it.
    pub round: u64,
    /// The number of examples in a mini-batch.
    pub batch_size: u64,
    /// The local learning rate.
    pub learning_rate: f32,
    /// The local optimiser, as JSON text.
    pub optimiser: String,
    /// `true` if the local optimiser begins with the part `momentum`, zeros without one, and the update has the part
    /// `momentum`; the feature `keeps-momentum`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_momentum: bool,
    /// `true` if the client trains on the label C − 1 − y in the place of y, with C classes; the feature `flip-labels`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flip_labels: bool,
    /// The phases of the training, at least one, done in order. More than one needs the feature `phases`.
    pub phases: Vec<Phase>,
    /// The transforms of the update in order, such as `int8:bucket=512`; absent for plain weights. Each needs a feature
    /// of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<String>,
    /// The rows on which the received weights are scored before the training; it needs the feature `score-start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_start: Option<ScoreStart>,
    /// The version of the weights; see [`Request::Train`](crate::message::Request::Train).
    pub weights_version: u64,
}

/// One phase of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// The number of local epochs.
    pub epochs: u64,
    /// The most mini-batches of the whole phase; absent for no limit. It needs the feature `step-limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// The number of examples in a mini-batch of the phase; absent for that of the request. It needs the feature
    /// `phase-batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,
    /// The weights from which the phase starts.
    #[serde(default, skip_serializing_if = "PhaseStart::is_default")]
    pub start: PhaseStart,
    /// The coefficient μ of the proximal term μ/2 ‖w − anchor‖², 0 for none; the feature `proximal`. The anchor is the
    /// part `anchor`, or the received weights if there is no such part.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub proximal: f32,
    /// `true` adds the part `linear` to every gradient; the feature `linear`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linear: bool,
    /// The names of the tensors that keep their bits; the feature `frozen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// `true` if the weights after this phase are the update. Otherwise they are the part `slot/N` of the reply, for
    /// phase N from 0.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub update: bool,
}

/// The weights from which a phase starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseStart {
    /// The weights that the request sends.
    #[default]
    Received,
    /// The weights after the phase before.
    Previous,
    /// The part `start/N` of the request, for phase N from 0.
    Slot,
}

/// The training rows on which received weights are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScoreStart {
    /// At most [`SCORED_ROWS`](crate::constants::SCORED_ROWS) rows, the same ones in each round.
    Rows,
    /// All rows.
    All,
}

/// The result of training. The weights are in the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The client of the request.
    pub client: u32,
    /// The round of the request.
    pub round: u64,
    /// The number of mini-batches, over all local epochs.
    pub steps: u64,
    /// ‖a‖₁ of the local optimiser (FedNova, Wang 2020); `None` if it is undefined.
    pub accumulation: Option<f64>,
    /// The sum of the losses of the last local epoch. Each example is scored before the step that trains on it.
    ///
    /// A sum that is NaN or infinite is `null` in JSON, which is read as NaN.
    #[serde(deserialize_with = "number_or_null")]
    pub loss_sum: f64,
    /// The number of examples of the last local epoch whose class was predicted; 0 for a real target.
    pub correct: u64,
    /// The number of examples that `loss_sum` and `correct` are over; below `examples` if a step limit ended the epoch.
    pub scored: u64,
    /// The number of examples of the client's partition.
    pub examples: u64,
    /// The score of the received weights; given if the request has `score_start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartScore>,
    /// The begin and the end of each local epoch, in microseconds since the client had the whole request; empty if the
    /// client does not measure them. The host records them and removes them, so that no result depends on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<[u64; 2]>,
}

/// The score of the weights that a client received, over rows of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StartScore {
    /// The sum of the losses. A sum that is NaN or infinite is `null` in JSON, which is read as NaN.
    #[serde(deserialize_with = "number_or_null")]
    pub loss_sum: f64,
    /// The number of rows.
    pub examples: u64,
}

impl Train {
    /// Returns a request for one plain local epoch of SGD at rate 0.1, in mini-batches of 32.
    pub fn plain(client: u32, round: u64) -> Self {
        Self {
            client,
            round,
            batch_size: 32,
            learning_rate: 0.1,
            optimiser: r#"{"name":"sgd"}"#.into(),
            keeps_momentum: false,
            flip_labels: false,
            phases: vec![Phase::plain(1)],
            transforms: Vec::new(),
            score_start: None,
            weights_version: 0,
        }
    }
}

impl Update {
    /// Returns the update of a client after one step over all of its examples.
    pub fn plain(client: u32, round: u64, examples: u64) -> Self {
        Self {
            client,
            round,
            steps: 1,
            accumulation: Some(1.0),
            loss_sum: 0.5,
            correct: 0,
            scored: examples,
            examples,
            start: None,
            epochs: Vec::new(),
        }
    }
}

impl Phase {
    /// Returns a phase of plain training from the received weights.
    pub fn plain(epochs: u64) -> Self {
        Self {
            epochs,
            steps: None,
            batch_size: None,
            start: PhaseStart::Received,
            proximal: 0.0,
            linear: false,
            frozen: Vec::new(),
            update: true,
        }
    }
}

impl PhaseStart {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(number: &f32) -> bool {
    *number == 0.0
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}
