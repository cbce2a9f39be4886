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
    // SAFETY: `main` runs once, before anything else of this process opens or owns a descriptor above 2; the number
    // comes from the host, which left it open for this process alone. A closed one is found by the next call.
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
