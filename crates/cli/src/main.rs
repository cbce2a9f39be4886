//! The `fedpipe` command; under the name `fedpipe-client`, one of its clients, under `fedpipe-relay`, the way to one.

mod args;
mod data;
mod exit;
mod experiment;
mod flower;
mod lookup;
mod losses;
mod models;
mod output;
mod own_file;
mod run;
mod serve;
mod show;
mod signals;
mod verify;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let as_child = match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some(fedpipe_client::PROCESS_NAME) => fedpipe_client::main,
        Some(fedpipe_client::RELAY_NAME) => fedpipe_client::relay,
        _ => return args::dispatch(),
    };
    as_child(&arguments.collect::<Vec<OsString>>())
}
