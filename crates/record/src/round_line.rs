//! A round, as the ledger keeps it.

use fedpipe_strategy::convergence::Convergence;
use serde::{Deserialize, Serialize};

use crate::finite::Finite;

/// The record of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The number of the round, from 1.
    pub round: u64,
    /// The accuracy of the new global weights on the test set, from 0 to 1.
    pub accuracy: Finite,
    /// Mean test loss of the new global weights.
    pub loss: Finite,
    /// Mean training loss over the clients' examples, each scored while it trained.
    pub training_loss: Finite,
    /// Clients whose update was aggregated.
    pub clients: u32,
    /// Sampled clients whose update was not aggregated.
    pub failed: u32,
    /// The aggregated clients, ascending; left out if all clients were aggregated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<u32>,
    /// SHA-256 of the new global weights.
    pub weights_sha256: String,
    /// SHA-256 of the server's state after the round; left out if the strategy has no state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_sha256: Option<String>,
    /// Relative change of the global weights; none if all weights were zero before.
    pub weights_change: Option<Finite>,
    /// The time from sampling to the end of evaluation.
    pub seconds: Finite,
}

impl Round {
    /// Shows the round to `convergence`, which is a function of the ledger's rounds.
    pub fn observed_by(&self, convergence: &mut Convergence) {
        convergence.observe(self.weights_change.map(Finite::get), self.training_loss.get());
    }
}
