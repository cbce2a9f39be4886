//! What a run executes that is not fedpipe, as the ledger knows it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    experiment::{
        Experiment,
        command::{Files, Foreign, changes},
    },
    run::directory::RunDir,
};

/// The model's dylib, and the files of the user's programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
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

impl Program {
    /// As it is now.
    pub(crate) fn of(experiment: &Experiment, directory: &RunDir) -> Result<Self> {
        let dylib_sha256 =
            experiment.client.is_none().then(|| directory.model()).transpose()?.map(|dylib| dylib.sha256);
        Ok(Self { dylib_sha256, ..Self::files(experiment)? })
    }

    /// The files alone, which are not the run's own.
    pub(crate) fn files(experiment: &Experiment) -> Result<Self> {
        let files = |foreign: Option<Foreign>| foreign.map(|foreign| foreign.files()).unwrap_or_default();
        let (client, strategy) = (experiment.foreign()?, experiment.foreign_strategy()?);
        Ok(Self { dylib_sha256: None, client_sha256: files(client), strategy_sha256: files(strategy) })
    }

    /// What is `now` other than it was, a sentence each. (One kind in the place of another is a difference of the
    /// experiments, and told as such.)
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let mut told = match (&self.dylib_sha256, &now.dylib_sha256) {
            (Some(was), Some(is)) if was != is => vec![format!("{} is {is}, was {was}", RunDir::MODEL)],
            _ => Vec::new(),
        };
        told.extend(changes(&self.client_sha256, &now.client_sha256));
        told.extend(changes(&self.strategy_sha256, &now.strategy_sha256));
        told
    }
}
