//! Opens a model's dylib and checks its ABI. The dylib is never closed: a new model needs a new process.
#![allow(unsafe_code, reason = "opening a dylib runs its constructors, and its symbols have no types")]

use std::{fs::File, io::Read, path::Path};

use abi_stable::{
    library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL},
    std_types::{RResult, RStr, RString},
};
use fedpipe_model::{
    Description, Layout,
    abi::{Answer, DoorRef, ModelBox},
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::{sandbox::restore_float_control, stderr::write_line};

/// The reason why a dylib is not loaded as a model. The first three differ because their remedies differ.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The dylib cannot be opened.
    #[error("cannot open {0}")]
    CannotOpen(String),
    /// The file is a shared library, but not a model.
    #[error("{0} is a shared library, but no fedpipe model: it does not call fedpipe_model::export_model!")]
    NotAModel(String),
    /// The dylib is a model of another ABI.
    #[error("{path} was built against another version of fedpipe-model ({why}); rebuild it with this fedpipe's")]
    OtherAbi {
        /// The path of the dylib.
        path: String,
        /// The first difference, in a few words.
        why: String,
    },
    /// The model returned an error.
    #[error("{0}")]
    Refused(String),
}

/// An opened dylib.
#[derive(Clone, Copy)]
pub struct Loaded {
    door: DoorRef,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded")
    }
}

impl Loaded {
    /// Opens the dylib at `path`, a path with a `/`.
    ///
    /// # Errors
    /// Any [`LoadError`] except [`LoadError::Refused`].
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        check_file(path)?;
        // SAFETY: the constructors of the dylib run here. A model is a program, and this process exists to run it in
        // isolation.
        let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        // A library built with fast-math changes the control word when it is loaded. A model may need such a library
        // without knowing it, so this is no error.
        let _ = restore_float_control();
        let cannot = |error| LoadError::CannotOpen(format!("{}: {}", path.display(), reason(path, &error)));
        let library = opened.map_err(cannot)?;
        // SAFETY: the name of the symbol belongs to abi_stable, so the symbol is an `AbiHeader`. The header starts with
        // a magic string, which `upgrade` compares before it reads on.
        let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) };
        let header = *header.map_err(|_| LoadError::NotAModel(path.display().to_string()))?;
        // The header and all that it refers to must live as long as the process.
        std::mem::forget(library);
        let door = header.upgrade().and_then(|header| header.init_root_module::<DoorRef>());
        door.map(|door| Self { door }).map_err(|error| other_abi(path, &error))
    }

    /// Returns the description of the model.
    ///
    /// # Errors
    /// [`LoadError::Refused`] with the error of the model.
    pub fn describe(&self) -> Result<Description, LoadError> {
        from_json(&answer(self.door.describe()())?)
    }

    /// Builds the model; `options` and `task` are JSON.
    ///
    /// # Errors
    /// [`LoadError::Refused`] with the error of the model.
    pub fn build(&self, options: &str, task: &str, seed: u64) -> Result<(ModelBox, Layout), LoadError> {
        let model = answer(self.door.build()(RStr::from(options), RStr::from(task), seed))?;
        let layout = from_json(&answer(model.layout())?)?;
        Ok((model, layout))
    }
}

/// Turns the result of a model's function into a plain one, and restores the floating-point control word.
///
/// Every result passes here, so the next call finds the default control word.
pub(crate) fn answer<T>(given: Answer<T>) -> Result<T, LoadError> {
    match (given, restore_float_control()) {
        (RResult::ROk(value), false) => Ok(value),
        (RResult::ROk(_), true) => Err(LoadError::Refused(FLOAT_CONTROL.into())),
        (RResult::RErr(message), _) => Err(LoadError::Refused(message.into_string())),
    }
}

const FLOAT_CONTROL: &str = "the model left the floating-point control word changed (rounding, or what becomes of \
    subnormal numbers), which changes the bits of all that follows";

fn from_json<T: serde::de::DeserializeOwned>(text: &RString) -> Result<T, LoadError> {
    serde_json::from_str(text)
        .map_err(|error| LoadError::Refused(format!("the model's description is not valid: {error}")))
}

/// Returns the message of `dlopen`, which libloading keeps as the source of its error. A leading `path` is removed; the
/// message may name another library, which the dylib needs.
fn reason(path: &Path, error: &libloading::Error) -> String {
    let message = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    message.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&message).to_owned()
}

/// Refuses a file that is not a shared library, and a truncated one, which would end `dlopen` with SIGBUS.
fn check_file(path: &Path) -> Result<(), LoadError> {
    let refuse = |why: String| Err(LoadError::CannotOpen(format!("{}: {why}", path.display())));
    let mut start = [0; 64];
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.read_exact(&mut start[..length.min(64) as usize]).map(|()| length)
    });
    let length = match read {
        Ok(length) => length,
        Err(error) => return refuse(error.to_string()),
    };
    if start[..4] != *b"\x7fELF" {
        return refuse("it is no shared library (no ELF header)".into());
    }
    // The section table ends the file. The header of 64-bit ELF has its offset and size: e_shoff, e_shentsize, e_shnum.
    let [mut offset, mut size, mut count] = [[0; 8]; 3];
    offset.copy_from_slice(&start[40..48]);
    size[..2].copy_from_slice(&start[58..60]);
    count[..2].copy_from_slice(&start[60..62]);
    let [offset, size, count] = [offset, size, count].map(u64::from_le_bytes);
    match offset.checked_add(size * count) {
        Some(end) if end <= length && length >= start.len() as u64 => Ok(()),
        _ => refuse(format!("it is truncated at byte {length}; build it again")),
    }
}

/// Returns the first difference between the ABIs. The whole text of abi_stable has tens of kilobytes.
fn other_abi(path: &Path, error: &LibraryError) -> LoadError {
    let path = path.display().to_string();
    let text = match error {
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            let why = format!("it has {actual_version}, this fedpipe {expected_version}");
            return LoadError::OtherAbi { path, why };
        }
        LibraryError::InvalidAbiHeader(_) => {
            return LoadError::OtherAbi { path, why: "its abi_stable is another".into() };
        }
        error => error.to_string(),
    };
    // The log of this client gets the whole text.
    write_line(&text);
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("Error:"));
    let first = lines.next().map_or("", |line| line.trim_start_matches("Error:"));
    let why = if first.is_empty() { "its layout differs".into() } else { first.chars().take(80).collect() };
    LoadError::OtherAbi { path, why }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Returns the first 64 bytes of a 64-bit ELF file whose section table has `count` entries of 64 bytes at `offset`.
    fn header(offset: u64, count: u16) -> Vec<u8> {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(b"\x7fELF");
        header[40..48].copy_from_slice(&offset.to_le_bytes());
        header[58..60].copy_from_slice(&64_u16.to_le_bytes());
        header[60..62].copy_from_slice(&count.to_le_bytes());
        header
    }

    #[test]
    fn a_file_that_is_no_whole_library_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.so");
        let refusal = |contents: &[u8]| {
            fs::write(&path, contents).unwrap();
            check_file(&path).err().map(|error| error.to_string())
        };
        let cannot = |why: &str| Some(format!("cannot open {}: {why}", path.display()));
        assert_eq!(refusal(b""), cannot("it is no shared library (no ELF header)"));
        assert_eq!(refusal(b"#!/bin/sh"), cannot("it is no shared library (no ELF header)"));
        assert_eq!(refusal(&header(64, 0)[..63]), cannot("it is truncated at byte 63; build it again"));
        assert_eq!(refusal(&header(64, 1)), cannot("it is truncated at byte 64; build it again"));
        assert_eq!(refusal(&header(u64::MAX, 1)), cannot("it is truncated at byte 64; build it again"));
        assert_eq!(refusal(&header(0, 1)), None);
        assert_eq!(refusal(&[header(64, 1), vec![0; 64]].concat()), None);
        let folder = check_file(folder.path()).unwrap_err().to_string();
        assert!(folder.ends_with("Is a directory (os error 21)"), "{folder}");
    }

    #[test]
    fn the_error_of_a_model_is_the_reason_of_a_refusal() {
        assert_eq!(answer(RResult::ROk(3)).unwrap(), 3);
        let refused = answer::<u32>(RResult::RErr("no such option".into())).unwrap_err();
        assert_eq!(refused.to_string(), "no such option");
    }
}
