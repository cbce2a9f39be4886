//! What is said to a strategy that is a program of its own. `hello` and `failed` are as a client says them.

use serde::{Deserialize, Serialize};

use crate::{FailureKind, Tensor};

/// From the host to a strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StrategyRequest {
    /// First, once.
    SetupStrategy(StrategySetup),
    /// Parts `weights`, `state` and, for each update, `update/CLIENT`; answered by [`StrategyReply::Aggregated`].
    Aggregate(Aggregate),
}

/// From a strategy to the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StrategyReply {
    /// First, unasked.
    Hello {
        /// [`PROTOCOL`](crate::PROTOCOL) of the program.
        protocol: u32,
    },
    /// To a setup.
    ReadyStrategy,
    /// Parts `weights` and `state`.
    Aggregated,
    /// Instead of any other reply.
    Failed {
        /// What kind of failure it was.
        kind: FailureKind,
        /// One sentence.
        message: String,
    },
}

/// What a strategy is told of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategySetup {
    /// The run's.
    pub seed: u64,
    /// All clients there are.
    pub clients: u32,
    /// The tensors of the flat weights, in order.
    pub layout: Vec<Tensor>,
}

/// Makes new global weights of a round's updates. With the parts it is all that the result may depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// From 1.
    pub round: u64,
    /// In the order of the clients' numbers.
    pub updates: Vec<UpdateHeader>,
}

/// An update without its weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UpdateHeader {
    /// Whose.
    pub client: u32,
    /// Examples of its partition.
    pub examples: u64,
    /// Mini-batches trained on, over all local epochs.
    pub steps: u64,
    /// ‖a‖₁ of the local optimiser (FedNova, Wang 2020); none where it has none.
    pub accumulation: Option<f64>,
    /// Σ of the examples' losses in the last local epoch, each scored before the step that it took part in; finite.
    pub loss_sum: f64,
}
