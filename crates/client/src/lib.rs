//! The client process: loads one dylib, owns its partitions and answers requests.
//!
//! [`main`] runs under the name `fedpipe-client`; the module `requests` answers the host.

mod inherited;
mod launcher;
mod lender;
mod loader;
mod relay;
mod requests;
pub mod sandbox;
mod session;
mod stderr;
mod translation;

use std::{ffi::OsString, io::BufReader, process::ExitCode};

pub use inherited::PROCESS_NAME;
pub use loader::{LoadError, Loaded};
pub use relay::{RELAY_NAME, relay};

use inherited::refuse_arguments;
use lender::Lender;
use requests::serve;
use sandbox::lock_in;
use stderr::write_line;

/// Runs a client: `arguments` are its read descriptor, its write descriptor and its number.
///
/// The exit code is 0 if the host closed the pipe, 1 if the pipe broke, and 2 for arguments that no host gives.
pub fn main(arguments: &[OsString]) -> ExitCode {
    if let [mode, pipes @ ..] = arguments
        && mode == fedpipe_protocol::LAUNCH
    {
        return launcher::main(pipes);
    }
    // The host executes /proc/self/exe, so `ps` and `top` would show the name `exe`. A failure is harmless.
    let _ = nix::sys::prctl::set_name(c"fedpipe-client");
    let (reader, writer) = match inherited::pipes(arguments) {
        Ok(pipes) => pipes,
        Err(why) => return refuse_arguments(&why),
    };
    match serve(&mut BufReader::new(reader), &mut Lender::new(writer), lock_in) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_line(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
