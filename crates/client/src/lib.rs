//! The child process: it loads one dylib, owns one partition and answers requests.
//!
//! [`main`] is what runs under the name `fedpipe-client`, and `serve` the whole conversation.

mod complaint;
mod inherited;
mod launch;
mod lender;
mod loader;
mod relay;
pub mod sandbox;
mod serve;
mod session;

use std::{ffi::OsString, io::BufReader, process::ExitCode};

pub use loader::{LoadError, Loaded};
pub use relay::{RELAY_NAME, relay};

use complaint::complain;
use lender::Lender;
use serve::serve;

/// The name (`argv[0]`) under which the host executes its own binary again to start a client.
pub const PROCESS_NAME: &str = "fedpipe-client";

/// Runs a client: `arguments` are its read descriptor, its write descriptor and its number.
///
/// Ends with success when the host closes the pipe; with 2 for arguments that no host gave, 1 when the pipe broke.
pub fn main(arguments: &[OsString]) -> ExitCode {
    if let [mode, pipes @ ..] = arguments
        && mode == fedpipe_protocol::LAUNCH
    {
        return launch::main(pipes);
    }
    // What is executed is /proc/self/exe, which would make it `exe` in `ps` and `top`. It can fail for no other name.
    let _ = nix::sys::prctl::set_name(c"fedpipe-client");
    let (reader, writer) = match inherited::pipes(arguments) {
        Ok(pipes) => pipes,
        Err(why) => return not_by_hand(&why),
    };
    match serve(&mut BufReader::new(reader), &mut Lender::new(writer)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn not_by_hand(why: &anyhow::Error) -> ExitCode {
    complain(format_args!("error: {PROCESS_NAME} is started by fedpipe, not by hand: {why}"));
    ExitCode::from(2)
}
