//! What a run executes that is not fedpipe, as the ledger knows it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::MODEL;

/// SHA-256 of the files that a command names, by the word that names each.
pub type Files = BTreeMap<String, String>;

/// The model's dylib, and the files of the user's programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeIdentity {
    /// SHA-256 of the run's own copy of the dylib; none where the client is a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dylib_sha256: Option<String>,
    /// SHA-256 of the files that the client's command names, by the word that names each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub client_sha256: Files,
    /// The same of the strategy's command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strategy_sha256: Files,
}

impl CodeIdentity {
    /// What is `now` other than it was, a sentence each. (One kind in the place of another is a difference of the
    /// experiments, and told as such.)
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut told = match (&self.dylib_sha256, &now.dylib_sha256) {
            (Some(was), Some(is)) if was != is => vec![format!("{} is {is}, was {was}", MODEL)],
            _ => Vec::new(),
        };
        told.extend(changes(&self.client_sha256, &now.client_sha256));
        told.extend(changes(&self.strategy_sha256, &now.strategy_sha256));
        told
    }
}

/// What the files of a command are now that they were not, a sentence each.
fn changes(recorded: &Files, now: &Files) -> Vec<String> {
    let changed = recorded.iter().filter_map(|(word, was)| match now.get(word) {
        None => Some(format!("there is no file {word} here (a command is run in the folder of its run's start)")),
        Some(is) if is != was => Some(format!("{word} is {is}, was {was}")),
        Some(_) => None,
    });
    changed.collect()
}
