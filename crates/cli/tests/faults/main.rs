//! All faults, once each, and their cost: a client's update of one round or nothing, never more.
//! `cargo test -p fedpipe --test faults` prints the table, and so does `just faults`, which kills more hosts.
//!
//! Each test is a fault and has its name. The faults of a model are those of the fixture `misbehaving`. Each is due for
//! one client in one round of a run of four clients, under each policy. All clients wait at the start of rounds 1 and 3
//! of such a run. The test then compares the processes and descriptors of the host before and after the fault.
#![allow(clippy::disallowed_methods, reason = "a test without threads has failed")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "clippy does not see that a test with a `main` is one"
)]

#[path = "../e2e/common.rs"]
#[allow(dead_code, reason = "what the end-to-end tests share, of which some is used here")]
mod common;
#[path = "../e2e/live.rs"]
#[allow(dead_code, reason = "as above")]
mod live;

mod cases;
mod client_signals;
mod host_signals;
mod kills;
mod policy;
mod stage;
mod start;
mod system;
mod table;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::table::Row;

/// A fault: its name, and the function that causes it and returns its row.
type Fault = (&'static str, Box<dyn FnOnce() -> Row + Send>);

fn main() -> ExitCode {
    let faults: Vec<Fault> = cases::faults()
        .into_iter()
        .chain(client_signals::faults())
        .chain(policy::faults())
        .chain(start::faults())
        .chain(host_signals::faults())
        .chain(system::faults())
        .chain(kills::faults())
        .collect();
    let names: Vec<&'static str> = faults.iter().map(|(name, _)| *name).collect();
    let trial = |(name, fault): Fault| Trial::test(name, move || passes(|| table::add(name, fault())));
    let mut trials: Vec<Trial> = faults.into_iter().map(trial).collect();
    let all = names.clone();
    trials.push(Trial::test("the_readme_names_every_fault", move || passes(|| table::is_in_the_readme(&all))));
    let done = libtest_mimic::run(&Arguments::from_args(), trials);
    table::show(&names);
    done.exit_code()
}

/// Turns a panic into a failure, as the standard harness does.
fn passes(test: impl FnOnce()) -> Result<(), Failed> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).map_err(|_| Failed::without_message())
}
