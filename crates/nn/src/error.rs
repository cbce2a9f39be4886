//! The error of this crate.

use std::fmt;

/// The reason why this crate refused a request, as one sentence: lower case, no full stop.
///
/// ```
/// let error = fedpipe_nn::Network::new(&[784]).unwrap_err();
/// assert_eq!(error.to_string(), "a network needs two or more widths from 1 to 2^30, but got [784]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
