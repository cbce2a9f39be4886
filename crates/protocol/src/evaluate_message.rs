//! A request to score weights, and its result.

use serde::{Deserialize, Serialize};

use crate::{constants::EVALUATION_BLOCK, message::number_or_null, regression_sums::RegressionSums};

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
    /// The version of the weights; see [`Request::Train`](crate::message::Request::Train).
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
