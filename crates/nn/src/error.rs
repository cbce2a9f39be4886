use std::fmt;

/// Why something of this crate was refused, as one sentence: lower case, no full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// A result of this crate.
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
