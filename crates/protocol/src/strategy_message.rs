//! The messages between the host and a strategy program. `hello` and `failed` are the same as from a client.

use serde::{Deserialize, Serialize};

use crate::message::{FailureKind, Tensor};

/// A message from the host to a strategy program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StrategyRequest {
    /// The first message, sent once; answered by [`StrategyReply::ReadyStrategy`].
    SetupStrategy(StrategySetup),
    /// Carries the parts `weights`, `state` and, for each update, `update/CLIENT`; answered by
    /// [`StrategyReply::Aggregated`].
    Aggregate(Aggregate),
}

/// A message from a strategy program to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StrategyReply {
    /// The first message, sent without a request.
    Hello {
        /// The [`PROTOCOL`](crate::constants::PROTOCOL) of the program.
        protocol: u32,
    },
    /// The reply to [`StrategyRequest::SetupStrategy`].
    ReadyStrategy,
    /// The new global weights and the new state, as the parts `weights` and `state`.
    Aggregated,
    /// Replaces any other reply.
    Failed {
        /// The kind of failure.
        kind: FailureKind,
        /// The reason, as one sentence.
        message: String,
    },
}

/// The facts about the run that a strategy program receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategySetup {
    /// The run's seed.
    pub seed: u64,
    /// The number of all clients.
    pub clients: u32,
    /// The tensors of the flat weights, in order.
    pub layout: Vec<Tensor>,
}

/// A request for new global weights from a round's updates. The result depends only on this message and its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The round, from 1.
    pub round: u64,
    /// The updates, in the order of the clients' numbers.
    pub updates: Vec<UpdateHeader>,
}

/// The header of an update; its weights are the part `update/CLIENT`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpdateHeader {
    /// The client's number.
    pub client: u32,
    /// The number of examples of the client's partition.
    pub examples: u64,
    /// The number of mini-batches, over all local epochs.
    pub steps: u64,
    /// ‖a‖₁ of the local optimiser (FedNova, Wang 2020); `None` if it is undefined.
    pub accumulation: Option<f64>,
    /// The sum of the losses of the last local epoch, finite. Each example is scored before the step that trains on it.
    pub loss_sum: f64,
}
