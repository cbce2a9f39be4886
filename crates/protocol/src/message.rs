//! The messages between host and client. A message is JSON; weights and other large arrays are parts of its frame.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    evaluate_message::{BlockSums, Evaluate},
    isolation::{InForce, Isolation},
    setup_message::{Ready, Setup},
    train_message::{Train, Update},
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
