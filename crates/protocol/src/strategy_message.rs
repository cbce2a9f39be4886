//! The messages between the host and a strategy program. `hello` and `failed` are the same as from a client.

use serde::{Deserialize, Serialize};

use crate::{
    message::FailureKind,
    setup_message::{Target, Tensor},
    train_message::{Phase, Update},
};

/// A message from the host to a strategy program. The answer depends only on the message, its parts and the setup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StrategyRequest {
    /// The first message, sent once; answered by [`StrategyReply::ReadyStrategy`].
    SetupStrategy(StrategySetup),
    /// Asks for the clients of a round, with the part `state`; answered by [`StrategyReply::Sampled`]. It needs
    /// [`Ability::Sample`].
    Sample {
        /// The round, from 1.
        round: u64,
        /// The number of all clients.
        clients: u32,
        /// The number of clients that the experiment asks for.
        count: u32,
    },
    /// Asks for the phases of a client's training, with the parts `weights`, `state` and, under
    /// [`Ability::ClientState`], `client_state/CLIENT`; answered by [`StrategyReply::Prepared`]. It needs
    /// [`Ability::Prepare`].
    Prepare {
        /// The round, from 1.
        round: u64,
        /// The client's number.
        client: u32,
        /// The local learning rate of the round.
        learning_rate: f32,
        /// The phase of the experiment: the client's work without a rule of the program.
        phase: Phase,
    },
    /// Carries the parts `weights`, `state` and, for each update, `update/CLIENT` and, under [`Ability::ClientState`],
    /// `client_state/CLIENT`; answered by [`StrategyReply::Aggregated`].
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
    ReadyStrategy {
        /// The requests that the program answers besides [`StrategyRequest::Aggregate`].
        #[serde(default)]
        abilities: Vec<Ability>,
        /// The features that each client needs; see [`feature`](crate::feature).
        #[serde(default)]
        features: Vec<String>,
    },
    /// The clients of a round: at least one, each once, in any order.
    Sampled {
        /// The numbers of the clients.
        clients: Vec<u32>,
    },
    /// The phases of a client's training, with the parts `linear`, `anchor` and `start/N` as the phases need them.
    Prepared {
        /// The phases, at least one.
        phases: Vec<Phase>,
    },
    /// The new global weights and the new state, as the parts `weights` and `state`. A part `client_state/CLIENT`
    /// replaces the state of a client whose update was aggregated.
    Aggregated,
    /// Replaces any other reply.
    Failed {
        /// The kind of failure.
        kind: FailureKind,
        /// The reason, as one sentence.
        message: String,
    },
}

/// A request that a strategy program may answer, or a state that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ability {
    /// The program samples the clients of a round.
    Sample,
    /// The program prepares the training of each client.
    Prepare,
    /// The program has a state for each client.
    ClientState,
}

/// The facts about the run that a strategy program receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategySetup {
    /// The run's seed.
    pub seed: u64,
    /// The seed of the clients of each round: that of the run, unless the experiment has another.
    pub sample_seed: u64,
    /// The number of all clients.
    pub clients: u32,
    /// The kind of the targets that the model learns.
    pub target: Target,
    /// The tensors of the flat weights, in order.
    pub layout: Vec<Tensor>,
    /// The number of examples in a mini-batch.
    pub batch_size: u64,
    /// The local optimiser, as JSON text.
    pub optimiser: String,
}

/// A request for new global weights from a round's updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The round, from 1.
    pub round: u64,
    /// The local learning rate of the round.
    pub learning_rate: f32,
    /// The updates, in the order of the clients' numbers. The weights of an update are the part `update/CLIENT`.
    pub updates: Vec<Update>,
}
