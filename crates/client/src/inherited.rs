//! The two descriptors that a client process inherits, and the refusal of arguments that do not name them.
#![allow(unsafe_code, reason = "an inherited descriptor has only a number")]

use std::{
    ffi::OsString,
    fs::File,
    os::fd::{FromRawFd, RawFd},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::stderr::write_line;

/// The name (`argv[0]`) under which the host executes its own binary again to start a client.
pub const PROCESS_NAME: &str = "fedpipe-client";

/// Returns the reading and the writing end that `arguments` name, after checking that both are open. Both become
/// close-on-exec.
pub(crate) fn pipes(arguments: &[OsString]) -> Result<(File, File)> {
    let [read, write, number] = arguments else {
        anyhow::bail!("its arguments are a read descriptor, a write descriptor and a client number");
    };
    number_of::<u32>(number)?;
    let (read, write) = (number_of(read)?, number_of(write)?);
    ensure!(read > 2 && write > 2 && read != write, "descriptors {read} and {write} cannot be a client's pipes");
    Ok((take(read)?, take(write)?))
}

/// Prints the reason why `arguments` name no descriptors, and returns the exit code.
pub(crate) fn refuse_arguments(why: &anyhow::Error) -> ExitCode {
    write_line(format_args!("error: {PROCESS_NAME} is started by fedpipe, not by hand: {why}"));
    ExitCode::from(2)
}

fn number_of<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &OsString) -> Result<T> {
    text.to_string_lossy().parse().with_context(|| format!("{text:?} is not a number"))
}

fn take(descriptor: RawFd) -> Result<File> {
    // SAFETY: `main` runs once, before anything else of this process opens or owns a descriptor above 2. The number
    // comes from the host, which left it open for this process alone. The next call finds a closed descriptor.
    let file = unsafe { File::from_raw_fd(descriptor) };
    match fcntl(&file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
        Ok(_) => Ok(file),
        Err(error) => {
            // A drop would close a descriptor that is not open, which std treats as a fatal bug.
            std::mem::forget(file);
            Err(error).with_context(|| format!("descriptor {descriptor} is not open"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Write, pipe},
        os::fd::IntoRawFd,
    };

    use super::*;

    fn arguments(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn arguments_that_no_host_gives_are_refused_before_a_descriptor_is_taken() {
        let cases: [(&[&str], &str); 7] = [
            (&[], "its arguments are a read descriptor, a write descriptor and a client number"),
            (&["3", "4"], "its arguments are a read descriptor, a write descriptor and a client number"),
            (&["three", "4", "0"], "\"three\" is not a number"),
            (&["3", "4", "-1"], "\"-1\" is not a number"),
            (&["2", "4", "0"], "descriptors 2 and 4 cannot be a client's pipes"),
            (&["3", "0", "0"], "descriptors 3 and 0 cannot be a client's pipes"),
            (&["3", "3", "0"], "descriptors 3 and 3 cannot be a client's pipes"),
        ];
        for (words, expected) in cases {
            assert_eq!(pipes(&arguments(words)).unwrap_err().to_string(), expected, "{words:?}");
        }
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_named() {
        // No limit of descriptors is as large.
        let closed = i32::MAX.to_string();
        let why = pipes(&arguments(&[&closed, "4", "0"])).unwrap_err().to_string();
        assert_eq!(why, format!("descriptor {closed} is not open"));
    }

    #[test]
    fn the_pipes_of_the_arguments_are_taken_and_become_close_on_exec() {
        let (reader, writer) = pipe().unwrap();
        fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let [read, write] = [reader.into_raw_fd(), writer.into_raw_fd()].map(|number| number.to_string());
        let (reader, mut writer) = pipes(&arguments(&[&read, &write, "0"])).unwrap();
        for end in [&reader, &writer] {
            assert_eq!(fcntl(end, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
        }
        writer.write_all(b"x").unwrap();
        drop(writer);
        assert_eq!(std::io::read_to_string(reader).unwrap(), "x");
    }
}
