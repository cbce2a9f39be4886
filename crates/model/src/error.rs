use std::fmt;

/// Why a model refused or failed, as one sentence for the person who runs it.
///
/// Any standard error converts, so `?` works on parsing and on `fedpipe_nn`'s errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// A result of the author's API.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that says `message`: lower case, no full stop, with the value and the remedy in it.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Error` itself is no `std::error::Error`, so that this conversion can exist (as in anyhow).
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
