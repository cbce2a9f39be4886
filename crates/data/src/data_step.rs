//! The steps of fetching and dealing data, which a caller may show.

use std::fmt;
use std::path::PathBuf;

use crate::counted::counted;

/// A step of fetching or dealing, which is passed to the caller's closure. `Display` writes one line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataStep {
    /// Another run holds a lock, and this run waits for it. `what` describes the other run's work.
    Waiting { what: &'static str },
    /// The file system of the cache refuses locks. The work continues without them.
    Unlocked { cache: PathBuf, reason: String },
    /// A file of a dataset was found at a place and is being read.
    Found { file: String, place: String },
    /// A file is truncated or altered, and is not used.
    Refused { file: PathBuf, reason: String },
    /// A place does not have the dataset. The next place is tried.
    Unavailable { place: String, reason: String },
    /// Bytes of a file that have arrived, and the total if the server reports it. The step comes about every 64 KiB.
    Downloading { file: String, done: u64, total: Option<u64> },
    /// A command of Debian's package tools is running.
    Running { command: String },
    /// Files are being hashed, since they are new or have other stamps.
    Hashing { place: PathBuf },
    /// The number of partition files that are written, and of all clients.
    Dealing { done: u32, clients: u32 },
    /// Old entries were removed to keep the cache within its bound.
    Evicted { entries: u32, bytes: u64 },
}

impl fmt::Display for DataStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { what } => write!(f, "waiting for another run, which is {what}"),
            Self::Unlocked { cache, reason } => write!(
                f,
                "{} cannot be locked ({reason}): old partitions stay in it, and of two runs that deal the same at once \
                 one may fail",
                cache.display()
            ),
            Self::Found { file, place } => write!(f, "found {file} in {place}"),
            Self::Refused { file, reason } => write!(f, "refused {}: {reason}", file.display()),
            Self::Unavailable { place, reason } => write!(f, "not available from {place}: {reason}"),
            Self::Downloading { file, done, total: Some(total) } => {
                write!(f, "downloading {file}: {done} of {}", counted(*total, "byte"))
            }
            Self::Downloading { file, done, total: None } => {
                write!(f, "downloading {file}: {}", counted(*done, "byte"))
            }
            Self::Running { command } => write!(f, "running {command}"),
            Self::Hashing { place } => write!(f, "hashing {}", place.display()),
            Self::Dealing { done, clients } => write!(f, "dealing: {done} of {}", counted(*clients, "partition")),
            Self::Evicted { entries, bytes } => {
                let (entries, bytes) = (counted(*entries, "old entry"), counted(*bytes, "byte"));
                write!(f, "removed {entries} ({bytes}) from the cache")
            }
        }
    }
}
