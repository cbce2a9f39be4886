//! What the clients of a run execute, as the ledger knows it again.

use serde::{Deserialize, Serialize};

use crate::{
    Experiment, Result,
    foreign::{Files, changes},
    run_dir::RunDir,
};

/// A dylib, or a program of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Program {
    /// The run's own copy.
    Dylib {
        /// SHA-256 of the file.
        dylib_sha256: String,
    },
    /// Files that stay where they are.
    Foreign {
        /// SHA-256 of the files that the command names, by the word that names each.
        client_sha256: Files,
    },
}

impl Program {
    /// As it is now.
    pub(crate) fn of(experiment: &Experiment, directory: &RunDir) -> Result<Self> {
        Ok(match experiment.foreign()? {
            Some(foreign) => Self::Foreign { client_sha256: foreign.files() },
            None => Self::Dylib { dylib_sha256: directory.model_sha256()? },
        })
    }

    /// What is `now` other than it was, a sentence each.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        match (self, now) {
            (Self::Foreign { client_sha256: was }, Self::Foreign { client_sha256: is }) => changes(was, is),
            (Self::Dylib { dylib_sha256: was }, Self::Dylib { dylib_sha256: is }) if was != is => {
                vec![format!("{} is {is}, was {was}", RunDir::MODEL)]
            }
            // One in the place of the other is a difference of the experiments, which is told as such.
            _ => Vec::new(),
        }
    }
}
