//! What a run came to: `summary.json` and `model.safetensors`.

use fedpipe_protocol::Layout;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Finite, Result, Round};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The model's name.
    pub model: String,
    /// The command of a client that is a program of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The dataset's name.
    pub dataset: String,
    /// How many clients hold a partition.
    pub clients: u32,
    /// Rounds that were completed.
    pub rounds: u64,
    /// As the user would type it.
    pub strategy: String,
    /// As the user would type it.
    pub partition: String,
    /// The run's seed.
    pub seed: u64,
    /// Of the final weights on the test set, 0..=1; none where no round was completed.
    pub accuracy: Option<Finite>,
    /// Mean test loss of the final weights.
    pub loss: Option<Finite>,
    /// Mean test loss of the initial weights; none where the rounds did not come to their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_loss: Option<Finite>,
    /// Whether the test loss of a round was below that of the initial weights; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_fell: Option<bool>,
    /// SHA-256 of the final weights: little-endian f32 in layout order.
    pub weights_sha256: String,
    /// From the start of the process to the end of the last round.
    pub wall_seconds: Finite,
    /// Client processes that were lost.
    pub failures: u64,
    /// Whether a client was left out of a round, so that another run may have other bits.
    pub clients_dropped: bool,
    /// Why the run ended.
    pub stopped: Stop,
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The rounds are done.
    Rounds,
    /// Neither the weights nor the training loss change any more.
    Converged,
    /// They still change, but the rounds allowed are done.
    MaxRounds,
    /// Somebody sent this signal.
    Signal(i32),
    /// A round failed, for this reason.
    Failed(String),
}

/// Returns `true` if a round has a test loss below that of the initial weights.
pub(crate) fn loss_fell(initial: Option<Finite>, rounds: &[Round]) -> Option<bool> {
    let initial = initial.filter(|_| !rounds.is_empty())?;
    Some(rounds.iter().any(|round| round.loss.get() < initial.get()))
}

impl Summary {
    /// The text of `summary.json`.
    pub(crate) fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(anyhow::Error::from)?;
        Ok(format!("{text}\n"))
    }
}

/// SHA-256 of flat weights, in hexadecimal: over little-endian f32 in layout order, without a header.
pub fn weights_sha256(weights: &[f32]) -> String {
    bytes_sha256(bytemuck::cast_slice(weights))
}

/// SHA-256 of bytes, in hexadecimal.
pub(crate) fn bytes_sha256(bytes: &[u8]) -> String {
    pieces_sha256([bytes])
}

/// SHA-256 of pieces one after the other, in hexadecimal.
pub(crate) fn pieces_sha256<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut hasher = Sha256::new();
    pieces.into_iter().for_each(|piece| hasher.update(piece));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The weights as a safetensors file with the layout's names and shapes.
///
/// # Errors
/// [`Error::System`] for weights of another number than the layout has.
pub fn safetensors(weights: &[f32], layout: &Layout) -> Result<Vec<u8>> {
    let mut views = Vec::with_capacity(layout.tensors().len());
    for (tensor, range) in layout.ranges() {
        let values = weights.get(range).unwrap_or_default();
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytemuck::cast_slice(values));
        views.push((tensor.name.as_str(), view.map_err(anyhow::Error::from)?));
    }
    safetensors::serialize(views, None).map_err(|error| Error::System(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_weights_is_that_of_their_little_endian_bytes() {
        // printf '\x00\x00\x80\x3f\x00\x00\x00\xc0' | sha256sum
        assert_eq!(weights_sha256(&[1.0, -2.0]), "ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b");
    }
}
