//! The build of fedpipe that writes a record.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, sync::OnceLock};

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
        let read = || identifier(&File::open(std::env::current_exe().ok()?).ok()?).ok().flatten();
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

/// Returns the identifier in a program of 64 bits: the note `NT_GNU_BUILD_ID` of its ELF file.
fn identifier(program: &File) -> io::Result<Option<String>> {
    const NOTE_SEGMENT: u64 = 4;
    /// The bytes of a program header, and the most bytes of notes: those of an identifier are a few dozen.
    const HEADER: u64 = 56;
    const MOST: u64 = 1 << 16;
    let mut header = [0; 64];
    program.read_exact_at(&mut header, 0)?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(None);
    }
    for segment in 0..number(&header[56..58]) {
        let mut fields = [0; HEADER as usize];
        program.read_exact_at(&mut fields, number(&header[32..40]) + HEADER * segment)?;
        let size = number(&fields[32..40]);
        if number(&fields[..4]) == NOTE_SEGMENT && size <= MOST {
            let mut notes = vec![0; size as usize];
            program.read_exact_at(&mut notes, number(&fields[8..16]))?;
            let found = build_note(&notes);
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// Returns the content of the note `NT_GNU_BUILD_ID` in hexadecimal. A note has the sizes of its name and its content,
/// its type, the name and the content, each filled to 4 bytes.
fn build_note(mut notes: &[u8]) -> Option<String> {
    const BUILD_ID: u64 = 3;
    loop {
        let (sizes, rest) = notes.split_at_checked(12)?;
        let [name_size, size, kind] = [0, 4, 8].map(|at| number(&sizes[at..at + 4]) as usize);
        let (name, rest) = rest.split_at_checked(name_size.next_multiple_of(4))?;
        if name.starts_with(b"GNU\0") && kind as u64 == BUILD_ID {
            return Some(rest.get(..size)?.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = rest.split_at_checked(size.next_multiple_of(4))?.1;
    }
}

/// Returns a little-endian number of at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, content: &[u8]) -> Vec<u8> {
        let mut note: Vec<u8> =
            [name.len() as u32, content.len() as u32, kind].iter().flat_map(|size| size.to_le_bytes()).collect();
        for part in [name, content] {
            note.extend(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_identifier_is_found_among_the_notes() {
        let other = note(b"GNU\0", 1, &[1; 6]);
        let build = note(b"GNU\0", 3, &[0xab, 0x01, 0xff]);
        assert_eq!(build_note(&[other.clone(), build.clone()].concat()).as_deref(), Some("ab01ff"));
        assert_eq!(build_note(&other), None);
        assert_eq!(build_note(&build[..17]), None, "a note that was cut");
    }

    #[test]
    fn a_program_has_its_version_and_an_equal_identifier_each_time() {
        let [first, second] = [(), ()].map(|()| Build::of_this_program());
        assert_eq!((first.fedpipe.as_str(), &first), (env!("CARGO_PKG_VERSION"), &second));
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), [b'#'; 100]).unwrap();
        assert_eq!(identifier(&File::open(text.path()).unwrap()).unwrap(), None);
    }

    #[test]
    fn a_build_is_named_by_its_version_and_a_part_of_its_identifier() {
        let build = |build: Option<&str>| Build { fedpipe: "0.1.0".into(), build: build.map(str::to_owned) };
        assert_eq!(build(None).to_string(), "fedpipe 0.1.0");
        let long = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(build(Some(long)).to_string(), "fedpipe 0.1.0, build 0123456789abcdef");
    }
}
