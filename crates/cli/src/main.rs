//! The `fedpipe` command. Under the name `fedpipe-client` it is a client process, under `fedpipe-relay` a relay to one,
//! and under `fedpipe-run` a run of a sweep.

mod args;
mod commands;
mod dispatch;
mod exit;
mod inputs;
mod screen;
mod signals;
mod sweep;

fn main() -> std::process::ExitCode {
    dispatch::dispatch(&std::env::args_os().collect::<Vec<_>>())
}
