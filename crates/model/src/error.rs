//! The error of a model: one sentence for the person who runs it.

use std::fmt;

/// The reason why a model refused or failed, as one sentence for the person who runs it.
///
/// Every standard error converts to this type, so that `?` works on parse errors and on the errors of `fedpipe_nn`.
///
/// ```
/// use fedpipe_model::{Error, Result};
///
/// fn width(text: &str) -> Result<usize> {
///     match text.parse()? {
///         0 => Err(Error::new("model option width: the layer cannot be 0 wide; take 1 or more")),
///         width => Ok(width),
///     }
/// }
/// assert_eq!(width("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// The result of the methods of a model.
///
/// ```
/// fn half(values: usize) -> fedpipe_model::Result<usize> {
///     let odd = || fedpipe_model::Error::new(format!("{values} values are odd; take an even number"));
///     (values % 2 == 0).then_some(values / 2).ok_or_else(odd)
/// }
/// assert_eq!(half(4), Ok(2));
/// ```
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes an error from `message`, which the user sees unchanged: lower case, no full stop, the value, the remedy.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Error` does not implement `std::error::Error`, since this conversion would then overlap with `From<T> for T`.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
