//! What the host does with a round's updates: weigh, aggregate, and let a server optimiser move the global weights.
//!
//! A strategy is a composition of such pieces; its names (`fedavg`, `fedavgm`, `fedadam`) are rows of a table. Nothing
//! here knows a clock, a file or a random number: [`Strategy::apply`] is a function of its arguments. Where sums of many
//! updates are split over the cores, each element is still summed by one of them, in client order.

mod aggregate;
mod server;
mod table;

use fedpipe_protocol::{Kind, Tensor};
use serde::{Deserialize, Serialize};

pub use aggregate::weighted_mean;
pub use server::{ServerOptimiser, ServerState};

/// A strategy: a row of the table, with its parameters. `Display` and `FromStr` are the form that users type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Strategy {
    /// What moves the global weights.
    pub server: ServerOptimiser,
}

/// One client's accepted update.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Whose.
    pub client: u32,
    /// Examples of its partition.
    pub examples: u64,
    /// Mini-batches trained on.
    pub steps: u64,
    /// ‖a‖₁ of the local optimiser; none where it has none.
    pub accumulation: Option<f64>,
    /// Flat, in layout order.
    pub weights: Vec<f32>,
}

impl Strategy {
    /// The new global weights from `weights` and the updates, which must be in client order and not empty; moves
    /// `state` on.
    ///
    /// Clients count by their examples (McMahan 2017). Tensors of kind `buffer` are averaged and not passed through
    /// the server optimiser.
    pub fn apply(&self, state: &mut ServerState, weights: &[f32], updates: &[Accepted], layout: &[Tensor]) -> Vec<f32> {
        let members: Vec<(f64, &[f32])> =
            updates.iter().map(|update| (update.examples as f64, update.weights.as_slice())).collect();
        let mean = weighted_mean(&members);
        let mut moved = self.server.step(state, weights, &mean);
        let mut start = 0;
        for tensor in layout {
            let range = start..start + tensor.shape.iter().product::<usize>();
            start = range.end;
            if tensor.kind == Kind::Buffer {
                moved[range.clone()].copy_from_slice(&mean[range]);
            }
        }
        moved
    }
}
