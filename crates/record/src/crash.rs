//! Crashes: processes that ended before their work was done, as the ledger keeps them.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{cause::Cause, finite::Finite};

/// A process that ended before its work was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crash {
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

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The cause ends the sentence, since it may end with a remedy.
        write!(f, "after {:.2} s: {}", self.after_seconds.get(), self.cause)
    }
}

/// The crash of a client process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCrash {
    /// The round; none before the first round.
    pub round: Option<u64>,
    /// The client whose work failed; none if the process was idle, starting or evaluating.
    pub client: Option<u32>,
    /// The number of the process, which is that of the client unless processes are pooled.
    pub process: u32,
    /// The cause and the consequence.
    #[serde(flatten)]
    pub crash: Crash,
}

impl fmt::Display for ClientCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) => write!(f, "client {client}")?,
            None => write!(f, "client process {}", self.process)?,
        }
        if let Cause::Rejected { message } = &self.crash.cause {
            let round = self.round.map_or_else(String::new, |round| format!(" of round {round}"));
            return write!(f, "'s update{round} was refused: {message}");
        }
        f.write_str(" crashed")?;
        match self.round {
            Some(round) => write!(f, " in round {round} {}", self.crash),
            None => write!(f, " before the first round {}", self.crash),
        }
    }
}

/// The crash of a strategy that is a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyCrash {
    /// The round.
    pub round: u64,
    /// The cause and the consequence.
    #[serde(flatten)]
    pub crash: Crash,
}

impl fmt::Display for StrategyCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the strategy's program crashed in round {} {}", self.round, self.crash)
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
    /// The round continues without the client.
    Dropped,
    /// The round has no score of the client.
    Unscored,
    /// The run ends.
    Aborted,
    /// The round begins again with the dylib from before a reload.
    Reverted,
    /// No work failed. A fresh process is started when there is work.
    Replaced,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_update_is_not_called_a_crash() {
        let sentence = |cause| {
            let (after_seconds, then) = (Finite::try_from(0.5).unwrap(), Consequence::Retried);
            let crash = Crash { cause, after_seconds, then, last_words: Vec::new(), log: None };
            ClientCrash { round: Some(3), client: Some(1), process: 1, crash }.to_string()
        };
        let refused = sentence(Cause::rejected("weight 1 is NaN; lower --lr"));
        assert_eq!(refused, "client 1's update of round 3 was refused: weight 1 is NaN; lower --lr");
        assert_eq!(
            sentence(Cause::Exit { code: 3 }),
            "client 1 crashed in round 3 after 0.50 s: it exited with code 3"
        );
    }

    #[test]
    fn the_shared_fields_of_a_crash_stand_beside_the_others_in_json() {
        let crash = Crash {
            cause: Cause::Exit { code: 3 },
            after_seconds: Finite::try_from(0.5).unwrap(),
            then: Consequence::Retried,
            last_words: vec!["no".into()],
            log: Some("clients/002.log".into()),
        };
        let shared = "\"cause\":{\"kind\":\"exit\",\"code\":3},\"after_seconds\":0.5,\"then\":\"retried\",\
                      \"last_words\":[\"no\"],\"log\":\"clients/002.log\"}";
        let client = ClientCrash { round: None, client: Some(2), process: 2, crash: crash.clone() };
        let text = serde_json::to_string(&client).unwrap();
        assert_eq!(text, format!("{{\"round\":null,\"client\":2,\"process\":2,{shared}"));
        assert_eq!(serde_json::from_str::<ClientCrash>(&text).unwrap(), client);
        let strategy = StrategyCrash { round: 1, crash };
        let text = serde_json::to_string(&strategy).unwrap();
        assert_eq!(text, format!("{{\"round\":1,{shared}"));
        assert_eq!(serde_json::from_str::<StrategyCrash>(&text).unwrap(), strategy);
    }
}
