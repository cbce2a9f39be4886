//! What a run came to: `summary.json` and `model.safetensors`.

use fedpipe_data::counted;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    finite::Finite,
    round::Round,
};

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
    /// Mean test loss of the initial weights; `None` if the rounds did not come to their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_loss: Option<Finite>,
    /// `true` if the test loss of a round was below that of the initial weights; `None` if that is not known.
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
pub fn loss_fell(initial: Option<Finite>, rounds: &[Round]) -> Option<bool> {
    let initial = initial.filter(|_| !rounds.is_empty())?;
    Some(rounds.iter().any(|round| round.loss.get() < initial.get()))
}

impl Summary {
    /// Returns the title of the run in a picture.
    pub fn title(&self) -> String {
        let Self { model, dataset, clients, strategy, seed, .. } = self;
        format!("{model} on {dataset}: {}, {strategy}, seed {seed}", counted(*clients, "client"))
    }

    /// Returns the text of `summary.json`.
    ///
    /// # Errors
    /// Returns [`Error::Encoding`], which no summary meets.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Encoding(error.to_string()))?;
        Ok(format!("{text}\n"))
    }
}
