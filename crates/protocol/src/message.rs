//! The messages between host and client. A message is JSON; weights and other large arrays are parts of its frame.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    constants::EVALUATION_BLOCK,
    isolation::{InForce, Isolation},
    regression_sums::RegressionSums,
};

/// A message from the host to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// The first message to the launcher of a program; answered by [`Reply::Launched`]. The program receives neither.
    Launch(ProgramLaunch),
    /// The first message to a client, sent once; answered by [`Reply::Ready`].
    Setup(Setup),
    /// Asks for the model's weights; answered by [`Reply::Weights`].
    GetWeights,
    /// Trains from the part `weights`; answered by [`Reply::Update`].
    ///
    /// The part is absent if the client keeps weights (the feature `keeps-weights`) and has the version that the
    /// message names. Further parts are `anchor`, `linear`, `local`, `residual`, `momentum` and `start/N`, as the
    /// phases, the layout, the transforms and the local optimiser need them.
    Train(Train),
    /// Evaluates the part `weights`, which is sent as for [`Request::Train`]; answered by [`Reply::Evaluated`].
    Evaluate(Evaluate),
}

impl Request {
    /// Returns the number of parts of the reply that are as long as the weights.
    pub fn reply_vectors(&self) -> u64 {
        match self {
            Request::GetWeights => 1,
            Request::Train(train) => {
                let slots = train.phases.iter().filter(|phase| !phase.update).count() as u64;
                slots + u64::from(train.transforms.is_empty()) + u64::from(train.keeps_momentum)
            }
            Request::Launch(_) | Request::Setup(_) | Request::Evaluate(_) => 0,
        }
    }

    /// Sets the version of the weights that the client is to use.
    pub fn set_weights_version(&mut self, version: u64) {
        match self {
            Request::Train(train) => train.weights_version = version,
            Request::Evaluate(evaluate) => evaluate.weights_version = version,
            Request::Launch(_) | Request::Setup(_) | Request::GetWeights => {}
        }
    }
}

/// A message from a client to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The isolation in force, sent by the launcher before the program runs.
    Launched(InForce),
    /// The first message, sent without a request. Every protocol version understands it.
    Hello {
        /// The [`PROTOCOL`](crate::constants::PROTOCOL) of the client.
        protocol: u32,
    },
    /// The reply to [`Request::Setup`].
    Ready(Ready),
    /// The weights of the model, as the part `weights`.
    Weights,
    /// The result of training; the new weights are the part `weights`, or the parts of the last transform.
    Update(Update),
    /// The sums of the requested blocks, in the order of the request. The parts are `confusion`, and `scores/0` and
    /// `scores/1`, if the request asked for predictions and the model predicts.
    Evaluated {
        /// One entry a block.
        blocks: Vec<BlockSums>,
    },
    /// Replaces any other reply. The client then ends.
    Failed {
        /// The kind of failure.
        kind: FailureKind,
        /// The reason, as one sentence.
        message: String,
    },
}

/// The program that fedpipe's launcher executes in its own process, and the program's isolation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramLaunch {
    /// The file to execute.
    pub program: PathBuf,
    /// The arguments of the program from `argv[0]` on; the launcher's own three follow.
    pub words: Vec<String>,
    /// The isolation of the program.
    pub isolation: Isolation,
    /// The files that the program trains and evaluates on.
    pub data: Vec<PathBuf>,
    /// Further paths that the program may read and execute: files, and folders with their contents except `closed`.
    pub open: Vec<PathBuf>,
    /// The paths of clients' data and of run directories, without symbolic links. The program may read none of them.
    pub closed: Vec<PathBuf>,
}

/// The configuration of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The path of the model's dylib; `None` for a client that is its own model.
    pub dylib: Option<PathBuf>,
    /// The SHA-256 of the dylib, in hexadecimal. It is given if the client has its own copy of the file (`fedpipe
    /// serve`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dylib_sha256: Option<String>,
    /// The SHA-256 of the test set's labels followed by its examples, in hexadecimal. `None` if the host has checked
    /// the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_sha256: Option<String>,
    /// The model's options as the user gave them.
    pub options: BTreeMap<String, String>,
    /// The run's seed.
    pub seed: u64,
    /// The seed of the initial weights; `None` for that of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_seed: Option<u64>,
    /// The isolation of the client.
    pub isolation: Isolation,
    /// The purpose of the client.
    pub purpose: Purpose,
}

/// The purpose for which a client is started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Describe the model. The client gets no data.
    Describe,
    /// Train and evaluate.
    Serve {
        /// The task that the data define.
        task: Task,
        /// The partitions that this process holds: one, or several for a worker.
        partitions: Vec<HeldPartition>,
        /// The path of the test set.
        test: PathBuf,
    },
}

/// A partition and the number of the client that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPartition {
    /// The client's number, from 0.
    pub client: u32,
    /// The path of the partition file; empty if the client has its own.
    pub path: PathBuf,
    /// The SHA-256 of the partition's labels followed by its examples, in hexadecimal; `None` if the host does not have
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The learning task that the data define: the shape of the inputs and the kind of the targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The shape of one example.
    pub shape: Vec<usize>,
    /// The kind of the targets.
    pub target: Target,
}

/// The kind of the targets: `{"classes": N}` or `"real"` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The number of classes. Each label is smaller.
    Classes(usize),
    /// Real numbers (regression).
    Real,
}

/// The description of a client whose model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// A description of the model in one line.
    pub summary: String,
    /// The options that the model accepts.
    pub options: Vec<OptionSpec>,
    /// The tensors of the flat weights, in order; empty for [`Purpose::Describe`], which builds no model.
    pub layout: Vec<Tensor>,
    /// The number of training examples of each partition of the setup; empty if the client does not report it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<u64>,
    /// The number of held-out examples of each partition; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<u64>,
    /// The optional abilities of the client, such as `proximal`; see [`feature`](crate::feature).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The instruction set that the model computes with, such as `avx2`; empty if the client does not report it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instruction_set: String,
    /// The isolation in force; by default none.
    #[serde(default)]
    pub in_force: InForce,
}

/// One option of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionSpec {
    /// The key, as in `--model-option key=value`.
    pub key: String,
    /// The value if the user gives none.
    pub default: String,
    /// The help text, one line.
    pub help: String,
}

/// A named tensor of the flat weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// The name, unique in the layout.
    pub name: String,
    /// The sizes; the weights are stored row-major.
    pub shape: Vec<usize>,
    /// The role of the tensor in the server optimiser.
    pub kind: Kind,
    /// The place where the tensor is kept.
    pub place: Place,
}

/// The role of a tensor in the server optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A parameter that is trained by gradients.
    Param,
    /// A running statistic, which is averaged and never changed by a server optimiser.
    Buffer,
}

/// The place where a tensor is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At the host, averaged over the clients.
    Shared,
    /// At each client.
    Local,
}

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
    /// The version of the weights; see [`Request::Train`].
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

impl Setup {
    /// Returns the setup of a client that describes the model in `dylib`, or itself.
    pub fn describe(dylib: Option<PathBuf>, isolation: Isolation) -> Self {
        Self {
            dylib,
            dylib_sha256: None,
            test_sha256: None,
            options: BTreeMap::new(),
            seed: 0,
            init_seed: None,
            isolation,
            purpose: Purpose::Describe,
        }
    }

    /// Returns the number of classes; 0 for a real target, and for a client that describes a model.
    pub fn classes(&self) -> u64 {
        match &self.purpose {
            Purpose::Serve { task: Task { target: Target::Classes(classes), .. }, .. } => *classes as u64,
            Purpose::Serve { .. } | Purpose::Describe => 0,
        }
    }
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
        }
    }
}

impl Evaluate {
    /// Returns a request to evaluate these blocks of the test set.
    pub fn test(blocks: Vec<u32>) -> Self {
        Self { blocks, client: None, predictions: None, weights_version: 0 }
    }

    /// Returns a request to evaluate all held-out examples of a client, which are so many.
    pub fn held_out(client: u32, examples: u64) -> Self {
        let blocks = (0..examples.div_ceil(EVALUATION_BLOCK as u64) as u32).collect();
        Self { client: Some(client), ..Self::test(blocks) }
    }

    /// Returns the most bytes of the parts of the reply, with so many classes.
    pub fn payload(&self, classes: u64) -> u64 {
        const BYTES: u64 = 4;
        let scores = (BYTES * EVALUATION_BLOCK as u64).saturating_mul(self.blocks.len() as u64);
        self.predictions.map_or(0, |_| classes.saturating_mul(classes).saturating_mul(BYTES).saturating_add(scores))
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

/// A request to evaluate weights on blocks of the test set, or of a client's held-out examples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluate {
    /// The numbers of the blocks. Block b holds the examples from 500 b up to, but not including, 500 (b + 1).
    pub blocks: Vec<u32>,
    /// The client whose held-out examples are scored; absent for the test set. It needs the feature
    /// `evaluate-partition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// The predictions that the reply has besides the sums. It needs the feature `predict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictions: Option<Predictions>,
    /// The version of the weights; see [`Request::Train`].
    pub weights_version: u64,
}

/// The predictions of an evaluation, as parts of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Predictions {
    /// The part `confusion`.
    Confusion,
    /// The part `confusion`, and for two classes the score of each example, as the parts `scores/0` and `scores/1`.
    Scores,
}

/// The sums over one block of the test set, or of a client's held-out examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockSums {
    /// The number of the block.
    pub block: u32,
    /// The sum of the losses. A sum that is NaN or infinite is `null` in JSON, which is read as NaN.
    #[serde(deserialize_with = "number_or_null")]
    pub loss_sum: f64,
    /// The number of examples whose class was predicted; 0 for a real target.
    pub correct: u64,
    /// The number of examples in the block.
    pub examples: u64,
    /// The sums over a real target; absent for classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regression: Option<RegressionSums>,
}

/// The kind of failure that a client reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The dylib cannot be opened.
    CannotOpen,
    /// The file is a dylib, but not a fedpipe model.
    NotAModel,
    /// The dylib was built against another ABI.
    OtherAbi,
    /// The model refuses its options or its task.
    Refused,
    /// The system lacks a mechanism of isolation that is required.
    Isolation,
    /// The client cannot read its data.
    Data,
    /// The model returned an error or panicked.
    Model,
    /// The client does not understand a message of the host.
    Protocol,
}

/// Reads `null` as NaN: JSON has neither NaN nor infinity.
pub(crate) fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
