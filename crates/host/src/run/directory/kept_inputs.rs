//! The files that an experiment names. A run keeps a copy of each, with which it is resumed and repeated.

use std::path::{Path, PathBuf};

use fedpipe_data::{DataError, Scheme};
use fedpipe_record::{digest::bytes_sha256, file::read_regular, initial_file::InitialFile, names};
use fedpipe_spec::pinned_file::PinnedFile;

use crate::{
    error::{Error, Result},
    run::directory::RunDir,
};

/// A file that an experiment names, with the digest that it had then; empty if none is known.
struct NamedInput<'f> {
    /// The file in a sentence, with its verb, such as `["the clock's file", "has"]`.
    words: [&'static str; 2],
    path: &'f Path,
    sha256: &'f str,
    /// The name of the copy in the run directory.
    copy: &'f str,
}

impl RunDir {
    /// Keeps a copy of the split by hand that the scheme names, and returns its path. It comes from the `other` run
    /// directory, if there is one, or from the place that the scheme names.
    ///
    /// # Errors
    /// Returns [`Error::Data`] where the file cannot be read, [`Error::Output`] where the copy cannot be written.
    pub(crate) fn keep_split(&self, scheme: &Scheme, other: Option<&Path>) -> Result<Option<PathBuf>> {
        let Some(file) = scheme.split_file() else { return Ok(None) };
        let name = names::split_file(&file.sha256);
        let kept = self.path.join(&name);
        if !kept.exists() {
            let path = other.map_or_else(|| file.path.to_owned(), |other| other.join(&name));
            let bytes = read_regular(&path).map_err(|source| DataError::Read { path, source })?;
            self.write(&name, &bytes)?;
        }
        Ok(Some(kept))
    }

    /// Returns the content of the trace that a clock reads, and keeps a copy. It comes from that copy, from the `other`
    /// run directory, or from the place that the clock names.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] where the file cannot be read or has changed, [`Error::Output`] where the copy cannot
    /// be written.
    pub(crate) fn keep_trace(&self, file: &PinnedFile, other: Option<&Path>) -> Result<String> {
        let copy = names::clock_file(&file.sha256);
        let words = ["the clock's file", "has"];
        let (from, bytes) =
            self.keep(&NamedInput { words, path: &file.path, sha256: &file.sha256, copy: &copy }, other)?;
        String::from_utf8(bytes).map_err(|_| Error::Usage(format!("the clock's file {} is not UTF-8", from.display())))
    }

    /// Returns the file of initial weights that the experiment names, and keeps a copy. The content comes from that
    /// copy, from the `other` run directory, or from the place that the experiment names.
    ///
    /// # Errors
    /// Returns [`Error::Usage`] where the file cannot be read or has changed, [`Error::Output`] where the copy cannot
    /// be written.
    pub(crate) fn keep_initial(&self, file: &InitialFile, other: Option<&Path>) -> Result<Vec<u8>> {
        let words = ["the initial weights", "have"];
        let copy = names::INITIAL_WEIGHTS;
        let (_, bytes) = self.keep(&NamedInput { words, path: &file.path, sha256: &file.sha256, copy }, other)?;
        Ok(bytes)
    }

    /// Returns the place from which a file is read, and its content, and keeps a copy.
    fn keep(&self, input: &NamedInput<'_>, other: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
        let [what, has] = input.words;
        let copy = self.path.join(input.copy);
        let is_kept = copy.exists();
        let given = other.map_or_else(|| input.path.to_owned(), |other| other.join(input.copy));
        let from = if is_kept { copy } else { given };
        let bytes = read_regular(&from)
            .map_err(|error| Error::Usage(format!("cannot read {what} {}: {error}", from.display())))?;
        let sha256 = bytes_sha256(&bytes);
        if !input.sha256.is_empty() && input.sha256 != sha256 {
            return Err(Error::Usage(format!(
                "{what} {} {has} the SHA-256 {sha256}, and the experiment was given {}; put the file back",
                from.display(),
                input.sha256
            )));
        }
        if !is_kept {
            self.write(input.copy, &bytes)?;
        }
        Ok((from, bytes))
    }
}
