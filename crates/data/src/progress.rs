//! What a caller is told while data are fetched and dealt.

use std::fmt;
use std::path::PathBuf;

use crate::counted;

/// One step of fetching or dealing, passed to the caller's closure. `Display` is one line for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another run holds a lock; this one waits for it.
    Waiting { what: &'static str },
    /// The file system of the cache refuses locks; the work is done without.
    Unlocked { cache: PathBuf, reason: String },
    /// A dataset's file was found at a place and is being read from there.
    Found { file: String, place: String },
    /// A file was truncated or altered; it is not used.
    Refused { file: PathBuf, reason: String },
    /// A place has not got the dataset; the next place is tried.
    Unavailable { place: String, reason: String },
    /// Bytes of a file that have come so far, of how many where the server says. Told about every 64 KiB.
    Downloading { file: String, done: u64, total: Option<u64> },
    /// A command of Debian's package tools is running.
    Running { command: String },
    /// Files are being hashed, since they are new or their stamps have changed.
    Hashing { place: PathBuf },
    /// Partition files written so far, of how many.
    Dealing { done: u32, clients: u32 },
    /// Old partitions were removed from the cache to keep it within its bound.
    Evicted { entries: u32, bytes: u64 },
}

impl fmt::Display for Progress {
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
