//! A round, as the ledger keeps it.

use fedpipe_strategy::convergence::Convergence;
use serde::{Deserialize, Serialize};

use crate::{client_scores::ClientScores, finite::Finite, regression::Regression};

/// The score of the initial weights on the test set: round 0 of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InitialScore {
    /// The accuracy, from 0 to 1; left out for a real target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Finite>,
    /// The errors of the predictions: `rmse`, `mae` and `r2`; left out for classes.
    #[serde(flatten)]
    pub regression: Option<Regression>,
    /// Mean test loss.
    pub loss: Finite,
}

/// The training of a client in virtual time, as its round has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedUpdate {
    /// The client.
    pub client: u32,
    /// The version of the weights that the client received: the round that made them, or 0 for the initial ones.
    pub version: u64,
    /// The virtual seconds from the start of the run to the start of the training.
    pub start: Finite,
    /// The same to the arrival of the update.
    pub end: Finite,
    /// `true` if the client crashed, so that no update arrived; left out if one did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

impl TimedUpdate {
    /// Returns the name of the training: a client starts one at a time, whose bits are those of an `f64`.
    pub fn key(&self) -> (u32, u64) {
        (self.client, self.start.get().to_bits())
    }
}

/// The record of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The number of the round, from 1.
    pub round: u64,
    /// The accuracy of the new global weights on the test set, from 0 to 1; left out for a real target, and if tensors
    /// stay with the clients, of which the global weights have the initial values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Finite>,
    /// The errors of the new global weights on the test set: `rmse`, `mae` and `r2`; left out for classes, and if
    /// tensors stay with the clients.
    #[serde(flatten)]
    pub regression: Option<Regression>,
    /// Mean test loss of the new global weights; left out if tensors stay with the clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Finite>,
    /// The scores of the new global weights on the held-out examples of clients that train; left out if the clients
    /// were not scored, and if tensors stay with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<ClientScores>,
    /// The scores of the clients that have a model of their own, each with that; left out if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<ClientScores>,
    /// The scores of the new global weights on the held-out examples of clients that never train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_clients: Option<ClientScores>,
    /// Mean training loss over the clients' examples, each scored while it trained; left out of a round without a
    /// client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_loss: Option<Finite>,
    /// Mean loss of the weights that the round began with, over training rows of its clients; left out if it was not
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_loss: Option<Finite>,
    /// The local learning rate; left out if it is the same in all rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f32>,
    /// Clients whose update was aggregated.
    pub clients: u32,
    /// Sampled clients whose update was not aggregated.
    pub failed: u32,
    /// The aggregated clients, ascending; left out if all clients were aggregated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<u32>,
    /// The sampled clients that attacked, ascending; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attackers: Vec<u32>,
    /// SHA-256 of the new global weights.
    pub weights_sha256: String,
    /// SHA-256 of the weights that the round scored; left out if they are the new global weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<String>,
    /// SHA-256 of the server's state after the round; left out if the strategy has no state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_sha256: Option<String>,
    /// SHA-256 of the client states that the round changed; left out if it changed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_sha256: Option<String>,
    /// The bytes of weights and corrections that a federation would send to the aggregated clients. What a client would
    /// hold itself, its local tensors and its own state, is not among them.
    pub bytes_sent: u64,
    /// The bytes of the aggregated updates, likewise.
    pub bytes_received: u64,
    /// The bytes of the client states that the round changed; left out if there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_of_states: u64,
    /// ‖w_k − w‖ of each aggregated update, in client order: the length of the change of the client's weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub update_norms: Vec<f32>,
    /// Relative change of the global weights; none if all weights were zero before.
    pub weights_change: Option<Finite>,
    /// The time from sampling to the end of evaluation.
    pub seconds: Finite,
    /// The virtual seconds from the start of the run to the new global weights; left out without a clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_seconds: Option<Finite>,
    /// The trainings of the round in the order of their virtual ends, of equal ones in client order; left out without a
    /// clock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<TimedUpdate>,
    /// The sampled clients that were too late in virtual time and were not trained, ascending; left out if there are
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<u32>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Round {
    /// Returns the record of a round without clients whose numbers are all zero, which tests fill in.
    pub fn blank(round: u64) -> Self {
        let zero = Finite::ZERO;
        Self {
            round,
            accuracy: None,
            regression: None,
            loss: Some(zero),
            held_out: None,
            personal: None,
            new_clients: None,
            training_loss: Some(zero),
            start_loss: None,
            learning_rate: None,
            clients: 0,
            failed: 0,
            participants: Vec::new(),
            attackers: Vec::new(),
            weights_sha256: String::new(),
            output_sha256: None,
            server_sha256: None,
            clients_sha256: None,
            bytes_sent: 0,
            bytes_received: 0,
            bytes_of_states: 0,
            update_norms: Vec::new(),
            weights_change: None,
            seconds: zero,
            virtual_seconds: None,
            updates: Vec::new(),
            late: Vec::new(),
        }
    }

    /// Returns the scores of the models that the clients use: their own, or the global one.
    pub fn used_models(&self) -> Option<&ClientScores> {
        self.personal.as_ref().or(self.held_out.as_ref())
    }

    /// Returns the SHA-256 of the weights that are the result of a run which ends with this round.
    pub fn result_sha256(&self) -> &str {
        self.output_sha256.as_deref().unwrap_or(&self.weights_sha256)
    }

    /// Shows the round to `convergence`, which is a function of the ledger's rounds.
    pub fn observed_by(&self, convergence: &mut Convergence) {
        self.start_loss.iter().for_each(|loss| convergence.observe(loss.get()));
    }
}
