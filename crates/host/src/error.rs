//! What ends a run, by what the user can do about it.

use std::{io, path::Path};

use fedpipe_data::DataError;

use crate::StartError;

/// Why a run ended before its end. Each is one sentence; the CLI gives each its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The experiment contradicts itself or asks for what does not exist.
    #[error("{0}")]
    Usage(String),
    /// The model cannot be loaded or refuses its options or task.
    #[error("{0}")]
    Model(String),
    /// The isolation that is required cannot be had here.
    #[error("{0}")]
    Isolation(String),
    /// The data cannot be had, read or dealt.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The run directory cannot be made or written.
    #[error("{0}")]
    Output(String),
    /// A round failed: too few clients returned an update.
    #[error("{0}")]
    Round(String),
    /// Somebody stopped the run.
    #[error("stopped by signal {0}")]
    Stopped(i32),
    /// The system failed the host.
    #[error("{0:#}")]
    System(#[from] anyhow::Error),
}

impl Error {
    /// The error for what cannot be started, such as "the strategy's program".
    pub fn not_started(what: &str, error: &StartError) -> Self {
        Error::System(anyhow::anyhow!("cannot start {what}: {error}"))
    }

    pub(crate) fn output(what: &str, path: &Path, error: &io::Error) -> Self {
        Error::Output(format!("cannot {what} {}: {error}; give another folder with --out", path.display()))
    }
}

/// A result of the host.
pub type Result<T> = std::result::Result<T, Error>;
