//! The `fedpipe` command; under the name `fedpipe-client`, one of its clients.

mod args;
mod data;
mod exit;
mod experiment;
mod lookup;
mod models;
mod run;
mod show;
mod signals;
mod verify;

use std::{ffi::OsString, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(fedpipe_client::PROCESS_NAME.as_ref()) {
        return fedpipe_client::main(&arguments.collect::<Vec<OsString>>());
    }
    args::dispatch()
}
