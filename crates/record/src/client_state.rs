//! The state of a client between rounds, in a file of its own: `state/CLIENT-ROUND.safetensors` holds the slots that
//! the client's update of that round left. A checkpoint names the file of each client, with its hash.

use std::{io, path::Path};

use anyhow::Context;
use fedpipe_strategy::slots::Slots;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{slot, view},
    digest::bytes_sha256,
    file::read_regular,
    names::STATE,
};

/// The slot of the state that a strategy program keeps, of the server or of a client.
pub const PROGRAM: &str = "program";

/// A file with the state of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFile {
    /// The client's number.
    pub client: u32,
    /// The round whose update left the state.
    pub round: u64,
    /// The SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl ClientFile {
    /// Returns the file of a state, and its contents.
    ///
    /// # Errors
    /// Returns the errors of serialising, which a state does not meet.
    pub fn of(client: u32, round: u64, state: &Slots) -> anyhow::Result<(Self, Vec<u8>)> {
        let views = state.iter().map(|(name, slot)| Ok((name, view(slot)?))).collect::<anyhow::Result<Vec<_>>>()?;
        let contents = safetensors::serialize(views, None)?;
        Ok((Self { client, round, sha256: bytes_sha256(&contents) }, contents))
    }

    /// Returns the name of the file.
    pub fn name(&self) -> String {
        format!("{:06}-{:06}.safetensors", self.client, self.round)
    }

    /// Returns the round of a file of that name; `None` for a name that no state has.
    pub fn round_of(name: &str) -> Option<u64> {
        name.strip_suffix(".safetensors")?.split_once('-')?.1.parse().ok()
    }

    /// Returns the state in `contents`.
    ///
    /// # Errors
    /// Contents that are not those of this file.
    pub fn read(&self, contents: &[u8]) -> anyhow::Result<Slots> {
        anyhow::ensure!(bytes_sha256(contents) == self.sha256, "it was truncated or altered");
        let tensors = SafeTensors::deserialize(contents).context("it has no tensors")?;
        tensors.iter().map(|(name, tensor)| Ok((name.to_owned(), slot(&tensor)?))).collect()
    }
}

/// Checks that each of the `files` in the run `directory` is there and whole. A file that cannot be read now may be
/// whole.
///
/// # Errors
/// A phrase about the first one that is not.
pub fn check(directory: &Path, files: &[ClientFile]) -> Result<(), String> {
    let fault = |file: &ClientFile| {
        let name = format!("{STATE}/{}", file.name());
        match read_regular(&directory.join(&name)) {
            Ok(contents) => file.read(&contents).err().map(|_| format!("{name} was truncated or altered")),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then(|| format!("{name} is missing")),
        }
    };
    files.iter().find_map(fault).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_its_file_and_an_altered_file_is_refused() {
        let mut state = Slots::default();
        state.set_vector("c", vec![0.1, -0.0, f32::MIN_POSITIVE]);
        let (file, mut contents) = ClientFile::of(3, 12, &state).unwrap();
        assert_eq!((file.name().as_str(), file.read(&contents).unwrap()), ("000003-000012.safetensors", state));
        assert_eq!(ClientFile::round_of(&file.name()), Some(12));
        for other in ["model.so", "3.safetensors", "3-x.safetensors"] {
            assert_eq!(ClientFile::round_of(other), None);
        }
        let last = contents.len() - 1;
        contents[last] ^= 1;
        assert_eq!(file.read(&contents).unwrap_err().to_string(), "it was truncated or altered");
    }
}
