//! The file of initial weights that an experiment names, with its digest.

use std::{fmt, path::PathBuf, str::FromStr};

use fedpipe_spec::pinned_file::is_sha256;
use serde_with::{DeserializeFromStr, SerializeDisplay};

/// A file of initial weights. The text is a path, or `path=PATH,sha256=HASH` once the file was read.
#[derive(Debug, Clone, PartialEq, Eq, SerializeDisplay, DeserializeFromStr)]
pub struct InitialFile {
    /// The path.
    pub path: PathBuf,
    /// The SHA-256 of the file's content, in hexadecimal; empty before the file was read.
    pub sha256: String,
}

/// The words around the path and before the hash.
const PARTS: [&str; 2] = ["path=", ",sha256="];

impl FromStr for InitialFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pinned = text.strip_prefix(PARTS[0]).and_then(|rest| rest.rsplit_once(PARTS[1]));
        match pinned {
            None => Ok(Self { path: text.into(), sha256: String::new() }),
            Some((path, sha256)) if is_sha256(sha256) => {
                Ok(Self { path: path.into(), sha256: sha256.to_ascii_lowercase() })
            }
            Some((_, sha256)) => {
                Err(format!("{text:?} has `sha256={sha256}`, which is not 64 hexadecimal digits; correct the value"))
            }
        }
    }
}

impl fmt::Display for InitialFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if self.sha256.is_empty() { path.fmt(f) } else { write!(f, "{}{path}{}{}", PARTS[0], PARTS[1], self.sha256) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_is_written() {
        let hash = "0a".repeat(32);
        for (text, sha256) in [
            ("a/b, c=1.safetensors".to_owned(), ""),
            (format!("path=a/b,sha256=x,{hash}.safetensors,sha256={hash}"), hash.as_str()),
            ("path=a".to_owned(), ""),
        ] {
            let file: InitialFile = text.parse().unwrap();
            assert_eq!((file.to_string(), file.sha256.as_str()), (text, sha256));
        }
        let why = "path=a,sha256=0a".parse::<InitialFile>().unwrap_err();
        assert_eq!(why, "\"path=a,sha256=0a\" has `sha256=0a`, which is not 64 hexadecimal digits; correct the value");
    }
}
