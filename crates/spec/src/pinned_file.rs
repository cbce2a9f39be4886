//! A file that an experiment names: its path, and the digest of its content once the file was read.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use crate::{
    error::Result,
    table::{Named, Parameter, Range, Tabled, Value, Values},
};

/// A file with the digest of its content, which is the identity of the thing that names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedFile {
    /// The path that the user gave.
    pub path: PathBuf,
    /// The SHA-256 of the content, in hexadecimal; empty before the file was read.
    pub sha256: String,
}

const PATH: Parameter =
    Parameter { key: "path", default: None, range: Range::Text("the path of a CSV file"), help: "the file" };

pub(crate) const SHA256: Parameter = Parameter {
    key: "sha256",
    default: Some(Value::Text(Cow::Borrowed(""))),
    range: Range::Sha256,
    help: "the SHA-256 of the content, which a run adds; by default any content",
};

/// The parameters of a row that reads a CSV file.
pub const PARAMETERS: [Parameter; 2] = [PATH, SHA256];

impl PinnedFile {
    /// Returns the file of a row with [`PARAMETERS`].
    ///
    /// # Panics
    /// The row has other parameters: a fault of the row.
    pub fn of(values: &Values) -> Self {
        Self { path: values.text("path").into(), sha256: values.text("sha256").to_owned() }
    }

    /// Returns `true` if the digest of the content is known.
    pub fn is_pinned(&self) -> bool {
        !self.sha256.is_empty()
    }
}

impl<T: Tabled + ?Sized> Named<T> {
    /// Returns this row, which has [`PARAMETERS`], with the file at `path` and the digest of its content.
    ///
    /// # Errors
    /// The path has a comma.
    pub fn pinned(&self, path: &Path, sha256: &str) -> Result<Self> {
        format!("{}:path={},sha256={sha256}", self.name(), path.display()).parse()
    }
}

/// Returns `true` for the hexadecimal text of a SHA-256.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit())
}
