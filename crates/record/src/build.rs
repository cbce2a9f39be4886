//! The build of fedpipe that writes a record.

use std::{fmt, fs::File, sync::OnceLock};

use object::{Object, ReadCache};
use serde::{Deserialize, Serialize};

/// The characters of an identifier that tell two builds apart.
const SHOWN: usize = 16;

/// A build of fedpipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The version.
    pub fedpipe: String,
    /// The identifier that the linker gave to the program, in hexadecimal; left out if it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
}

impl Build {
    /// Returns the build of this process.
    pub fn of_this_program() -> Self {
        static IDENTIFIER: OnceLock<Option<String>> = OnceLock::new();
        let read = || identifier(File::open(std::env::current_exe().ok()?).ok()?);
        Self { fedpipe: env!("CARGO_PKG_VERSION").to_owned(), build: IDENTIFIER.get_or_init(read).clone() }
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fedpipe {}", self.fedpipe)?;
        match &self.build {
            Some(build) => write!(f, ", build {build:.SHOWN$}"),
            None => Ok(()),
        }
    }
}

/// Returns the identifier of a program in hexadecimal; `None` for a file without one.
fn identifier(program: File) -> Option<String> {
    let bytes = ReadCache::new(program);
    let found = object::File::parse(&bytes).ok()?.build_id().ok()??;
    Some(found.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for the note `NT_GNU_BUILD_ID` of the ELF file byte by byte: the sizes of its name and its content, its
    /// type, the name and the content.
    fn note_in(program: &[u8]) -> Option<String> {
        let mut heads = program.windows(16).enumerate();
        let (at, _) = heads.find(|(_, head)| {
            head[..4] == *b"\x04\0\0\0" && head[5..8] == [0; 3] && head[8..] == *b"\x03\0\0\0GNU\0"
        })?;
        let size = usize::from(program[at + 4]);
        Some(program[at + 16..at + 16 + size].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    #[test]
    fn a_program_has_its_version_and_the_identifier_in_its_file() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let build = Build { fedpipe: env!("CARGO_PKG_VERSION").to_owned(), build: note_in(&program) };
        assert_eq!(Build::of_this_program(), build);
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), [b'#'; 100]).unwrap();
        assert_eq!(identifier(text.reopen().unwrap()), None);
    }

    #[test]
    fn a_build_is_named_by_its_version_and_a_part_of_its_identifier() {
        let build = |build: Option<&str>| Build { fedpipe: "0.1.0".into(), build: build.map(str::to_owned) };
        assert_eq!(build(None).to_string(), "fedpipe 0.1.0");
        let long = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(build(Some(long)).to_string(), "fedpipe 0.1.0, build 0123456789abcdef");
    }
}
