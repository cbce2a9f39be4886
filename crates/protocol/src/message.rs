//! What is said. Every message is JSON; weights and other numbers in bulk travel as parts of its frame.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{InForce, Isolation};

/// From the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// To the launcher of a program, before anything else; answered by [`Reply::Launched`]. The program sees neither.
    Launch(Launch),
    /// First, once.
    Setup(Setup),
    /// Asks for the model's weights; answered by [`Reply::Weights`].
    GetWeights,
    /// Part `weights`; answered by [`Reply::Update`]. To a client that keeps what it was sent ([`Ready::keeps_weights`]) the
    /// part is left out where it would be the same as the last one.
    Train(Train),
    /// Part `weights`, as for [`Request::Train`]; answered by [`Reply::Evaluated`].
    Evaluate(Evaluate),
}

impl Request {
    /// Returns whether the reply carries the part `weights`.
    pub fn is_answered_with_weights(&self) -> bool {
        match self {
            Request::GetWeights | Request::Train(_) => true,
            Request::Launch(_) | Request::Setup(_) | Request::Evaluate(_) => false,
        }
    }
}

/// From a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// From the launcher, before the program has run: what the kernel enforces on it.
    Launched(InForce),
    /// First, unasked. The one message that every version understands.
    Hello {
        /// [`PROTOCOL`](crate::PROTOCOL) of the client.
        protocol: u32,
    },
    /// To a [`Setup`].
    Ready(Ready),
    /// Part `weights`.
    Weights,
    /// Part `weights`.
    Update(Update),
    /// The blocks that were asked for, in that order.
    Evaluated {
        /// One a block.
        blocks: Vec<BlockSums>,
    },
    /// Instead of any other reply. The client is of no further use.
    Failed {
        /// What kind of failure it was.
        kind: FailureKind,
        /// One sentence.
        message: String,
    },
}

/// What fedpipe's launcher is to confine, and then to execute in its own place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The file to execute.
    pub program: PathBuf,
    /// Its arguments from `argv[0]` on; the launcher's own three follow.
    pub words: Vec<String>,
    /// What it is to be confined to.
    pub isolation: Isolation,
    /// The files that it is to train and evaluate on.
    pub data: Vec<PathBuf>,
    /// Further paths that it may read and execute: files, and folders with all that is in them but for what is closed.
    pub open: Vec<PathBuf>,
    /// The paths of clients' data and of runs' results, each without a link in it.
    pub closed: Vec<PathBuf>,
}

/// All that a client needs to know of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The model's dylib; none for a foreign client, which is its own model.
    pub dylib: Option<PathBuf>,
    /// SHA-256 of that file; given where the path means nothing to the receiver, which has a copy of its own
    /// (`fedpipe serve`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dylib_sha256: Option<String>,
    /// SHA-256 of the test set's labels and then its examples, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_sha256: Option<String>,
    /// The model's options as the user gave them.
    pub options: BTreeMap<String, String>,
    /// The run's seed.
    pub seed: u64,
    /// What the client is to be confined to.
    pub isolation: Isolation,
    /// What for.
    pub purpose: Purpose,
}

/// What a client is started for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To say what its model is; it gets no data.
    Describe,
    /// To train and evaluate.
    Serve {
        /// What the data ask of the model.
        task: Task,
        /// The partitions of the clients that this process serves; one, unless it is a pooled worker.
        partitions: Vec<Held>,
        /// The test set.
        test: PathBuf,
    },
}

/// A partition and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The client's number, from 0.
    pub client: u32,
    /// A partition file; empty where the client has one of its own.
    pub path: PathBuf,
    /// SHA-256 of the partition's labels and then its examples, in hexadecimal; none where the host does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What the data ask of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The shape of one example.
    pub shape: Vec<usize>,
    /// Labels are below this.
    pub classes: usize,
}

/// The model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// One line on the model.
    pub summary: String,
    /// The options that the model knows.
    pub options: Vec<OptionSpec>,
    /// The tensors of the flat weights, in order; empty for [`Purpose::Describe`] where the model is not built.
    pub layout: Vec<Tensor>,
    /// Examples of each partition of the setup; empty for a client that does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<u64>,
    /// Whether the client keeps the weights that it was sent last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_weights: bool,
    /// What confines the client; nothing for one that does not say.
    #[serde(default)]
    pub in_force: InForce,
}

/// One option of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionSpec {
    /// As in `--model-option key=value`.
    pub key: String,
    /// The value it has when the user gives none.
    pub default: String,
    /// One line.
    pub help: String,
}

/// A named tensor of the flat weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// Unique.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Whether a server optimiser may move it.
    pub kind: Kind,
    /// Whether it leaves the client.
    pub place: Place,
}

/// What a tensor is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Trained by gradients.
    Param,
    /// A running statistic: averaged, never moved by a server optimiser.
    Buffer,
}

/// Where a tensor lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Averaged over the clients.
    Shared,
    /// Kept by each client for itself; refused by this version.
    Local,
}

/// Train from the weights in the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    /// On this client's partition.
    pub client: u32,
    /// From 1; part of the key of the example order.
    pub round: u64,
    /// Local epochs.
    pub epochs: u64,
    /// Examples a mini-batch.
    pub batch_size: u64,
    /// The local learning rate.
    pub learning_rate: f32,
    /// The local optimiser, as JSON text.
    pub optimiser: String,
}

/// The result of training; the weights are in the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Whose.
    pub client: u32,
    /// Of which round.
    pub round: u64,
    /// Mini-batches trained on, over all local epochs.
    pub steps: u64,
    /// ‖a‖₁ of the local optimiser (FedNova, Wang 2020); none where it has none.
    pub accumulation: Option<f64>,
    /// Σ of the examples' losses in the last local epoch, each scored before the step that it took part in. NaN and infinite
    /// sums are `null` in JSON and NaN when they are read.
    #[serde(deserialize_with = "number_or_null")]
    pub loss_sum: f64,
    /// Examples of the last local epoch whose class was predicted.
    pub correct: u64,
    /// Examples of the client's partition.
    pub examples: u64,
}

/// Evaluate the weights in the payload on blocks of the test set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluate {
    /// Block b is test examples 500 b up to 500 (b + 1).
    pub blocks: Vec<u32>,
}

/// Sums over one block of the test set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockSums {
    /// Which block.
    pub block: u32,
    /// Σ of the examples' losses. NaN and infinite sums are `null` in JSON and NaN when they are read.
    #[serde(deserialize_with = "number_or_null")]
    pub loss_sum: f64,
    /// Examples whose class was predicted.
    pub correct: u64,
    /// Examples in the block.
    pub examples: u64,
}

/// What kind of failure a client reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The dylib cannot be opened.
    CannotOpen,
    /// The file is a dylib, but no fedpipe model.
    NotAModel,
    /// The dylib was built against another ABI.
    OtherAbi,
    /// The model refuses its options or its task.
    Refused,
    /// The isolation that is required cannot be had here.
    Isolation,
    /// The client cannot read its data.
    Data,
    /// The model returned an error or panicked.
    Model,
    /// The host said something that this client does not understand.
    Protocol,
}

/// Reads a number that JSON could not hold as NaN.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
