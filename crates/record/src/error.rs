//! The refusals of a record, each one sentence with the value, the reason and the remedy.

/// The reason why a record cannot be read or an experiment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The experiment contradicts itself or asks for what does not exist.
    #[error("{0}")]
    Experiment(String),
    /// A file of the run directory is missing, or does not hold what a run writes.
    #[error("{0}")]
    RunDirectory(String),
    /// A value cannot be written as text.
    #[error("{0}")]
    Encoding(String),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
