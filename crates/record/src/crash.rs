//! Crashes: processes that ended before their work was done, as the ledger keeps them.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{cause::Cause, finite::Finite};

/// The crash of a client process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCrash {
    /// The round; none before the first round.
    pub round: Option<u64>,
    /// The client whose work failed; none if the process was idle, starting or evaluating.
    pub client: Option<u32>,
    /// The number of the process, which is that of the client unless processes are pooled.
    pub process: u32,
    /// The cause.
    pub cause: Cause,
    /// Seconds since the process was started.
    pub after_seconds: Finite,
    /// The consequence.
    pub then: Consequence,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<String>,
    /// The file with all of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

impl fmt::Display for ClientCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "client {client} was lost")?,
            None => write!(f, "client process {} was lost", self.process)?,
        }
        match self.round {
            Some(round) => write!(f, " in round {round}")?,
            None => write!(f, " before the first round")?,
        }
        // The cause ends the sentence, since it may end with a remedy.
        write!(f, " after {:.2} s: {}", self.after_seconds.get(), self.cause)
    }
}

/// The crash of a strategy that is a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyCrash {
    /// The round.
    pub round: u64,
    /// The cause.
    pub cause: Cause,
    /// Seconds since the process was started.
    pub after_seconds: Finite,
    /// The consequence.
    pub then: Consequence,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<String>,
    /// The file with all of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

impl fmt::Display for StrategyCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, cause, after_seconds, .. } = self;
        write!(f, "the strategy's program was lost in round {round} after {:.2} s: {cause}", after_seconds.get())
    }
}

/// The consequence of a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// A fresh process does the work again.
    Retried,
    /// Another process does the work.
    Moved,
    /// The round goes on without the client.
    Dropped,
    /// The run ends.
    Aborted,
    /// The round begins again with the dylib from before a reload.
    Reverted,
    /// No work failed. A fresh process is started when there is work.
    Replaced,
}
