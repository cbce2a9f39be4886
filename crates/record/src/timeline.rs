//! `timeline.jsonl`: the times of messages on the pipes, of local epochs and of phases. No result rests on them.
//!
//! Times are whole microseconds since the start of a session. A resume begins another session.

use std::{borrow::Cow, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{file::read_regular, names::TIMELINE};

/// The format of the file.
pub const TIMELINE_FORMAT: u64 = 1;

/// A line of the file: an event, and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry<'a> {
    /// The begin.
    pub at: u64,
    /// The end; left out for an event without a length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// The event.
    #[serde(flatten)]
    pub event: TimelineEvent<'a>,
}

/// An event of a session. A `process` is the number of a client process; the strategy's program has the next number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TimelineEvent<'a> {
    /// A session begins.
    Session {
        /// The [`TIMELINE_FORMAT`].
        format: u64,
        /// Microseconds from 1970 to the start of the session.
        unix_us: u64,
        /// The process number of the host.
        host: u32,
    },
    /// A client process was started, or the program of the strategy.
    Spawned {
        /// The process.
        process: u32,
        /// The process number of the system; left out for a client elsewhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<i32>,
        /// `true` for the strategy's program.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        strategy: bool,
    },
    /// The host wrote a message to the pipe of a process.
    Sent(PipeMessage<'a>),
    /// The host read a message from the pipe of a process.
    Received(PipeMessage<'a>),
    /// A client trained for a local epoch. The client measures the time.
    Epoch {
        /// The process.
        process: u32,
        /// The client.
        client: u32,
        /// The round.
        round: u64,
        /// The number of the epoch in the request, from 0.
        epoch: u64,
    },
    /// A client process ended.
    Exited {
        /// The process.
        process: u32,
        /// The cause; left out if the host ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cow<'a, str>>,
    },
    /// The host did a part of a round.
    Phase {
        /// The name, such as `aggregate`.
        phase: Cow<'a, str>,
        /// The round.
        round: u64,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// The round.
        round: u64,
    },
}

/// A message on a pipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PipeMessage<'a> {
    /// The process.
    pub process: u32,
    /// The type of the message, such as `train`.
    pub message: Cow<'a, str>,
    /// The client that the message is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// The bytes of its parts.
    pub bytes: u64,
}

/// A session of a run, as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineSession {
    /// Microseconds from 1970 to the start.
    pub unix_us: u64,
    /// The process number of the host.
    pub host: u32,
    /// The entries after the start, in the order of the file.
    pub entries: Vec<TimelineEntry<'static>>,
}

impl TimelineSession {
    /// Reads the sessions of the run in `directory`. A line that is not understood is left out: it was torn, or another
    /// version has written it.
    ///
    /// # Errors
    /// Returns those of reading the file.
    pub fn read(directory: &Path) -> io::Result<Vec<Self>> {
        let bytes = read_regular(&directory.join(TIMELINE))?;
        let mut sessions: Vec<Self> = Vec::new();
        for line in bytes.split(|&byte| byte == b'\n') {
            let Ok(entry) = serde_json::from_slice::<TimelineEntry<'_>>(line) else { continue };
            match (entry.event, sessions.last_mut()) {
                (TimelineEvent::Session { format: TIMELINE_FORMAT, unix_us, host }, _) => {
                    sessions.push(Self { unix_us, host, entries: Vec::new() });
                }
                (TimelineEvent::Session { .. }, _) | (_, None) => {}
                (event, Some(session)) => {
                    let event = event.into_owned();
                    session.entries.push(TimelineEntry { at: entry.at, until: entry.until, event });
                }
            }
        }
        Ok(sessions)
    }
}

impl TimelineEvent<'_> {
    /// Returns the event with texts of its own.
    pub fn into_owned(self) -> TimelineEvent<'static> {
        let text = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Session { format, unix_us, host } => TimelineEvent::Session { format, unix_us, host },
            Self::Spawned { process, pid, strategy } => TimelineEvent::Spawned { process, pid, strategy },
            Self::Sent(message) => TimelineEvent::Sent(message.into_owned()),
            Self::Received(message) => TimelineEvent::Received(message.into_owned()),
            Self::Epoch { process, client, round, epoch } => TimelineEvent::Epoch { process, client, round, epoch },
            Self::Exited { process, cause } => TimelineEvent::Exited { process, cause: cause.map(text) },
            Self::Phase { phase, round } => TimelineEvent::Phase { phase: text(phase), round },
            Self::Checkpoint { round } => TimelineEvent::Checkpoint { round },
        }
    }
}

impl PipeMessage<'_> {
    fn into_owned(self) -> PipeMessage<'static> {
        let Self { process, message, client, bytes } = self;
        PipeMessage { process, message: Cow::Owned(message.into_owned()), client, bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_timeline_is_read_as_it_is_written() {
        let message = PipeMessage { process: 3, message: "train".into(), client: Some(7), bytes: 8 };
        let events = [
            TimelineEvent::Session { format: TIMELINE_FORMAT, unix_us: 5, host: 9 },
            TimelineEvent::Spawned { process: 3, pid: Some(99), strategy: true },
            TimelineEvent::Sent(message.clone()),
            TimelineEvent::Received(PipeMessage { client: None, ..message }),
            TimelineEvent::Epoch { process: 3, client: 7, round: 1, epoch: 0 },
            TimelineEvent::Exited { process: 3, cause: Some("killed by SIGKILL".into()) },
            TimelineEvent::Phase { phase: "aggregate".into(), round: 1 },
            TimelineEvent::Checkpoint { round: 1 },
        ];
        let entries = events.map(|event| TimelineEntry { at: 1, until: Some(2), event });
        let folder = tempfile::tempdir().unwrap();
        let lines: Vec<String> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
        assert_eq!(lines[2], r#"{"at":1,"until":2,"event":"sent","process":3,"message":"train","client":7,"bytes":8}"#);
        // A torn line, and a session of another format.
        let other = r#"{"at":0,"event":"session","format":2,"unix_us":0,"host":1}"#;
        fs::write(folder.path().join(TIMELINE), format!("{}\n{{\"at\":\n{other}\n{}", lines.join("\n"), lines[0]))
            .unwrap();
        let sessions = TimelineSession::read(folder.path()).unwrap();
        assert_eq!(sessions.len(), 2);
        assert_eq!(sessions[0].entries, entries[1..]);
        assert_eq!((sessions[0].unix_us, sessions[1].host), (5, 9));
    }
}
