//! Tests of the isolation of clients: a hostile model in real processes.
//!
//! `cargo test -p fedpipe-client --test isolation` prints each attempt with its error. A client must have one thread
//! when it isolates itself, but the standard test harness has several. This test therefore has its own `main`, which
//! becomes the client if the environment holds a plan.

#![allow(clippy::disallowed_methods, reason = "a panic fails the test")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "clippy does not recognise a test with its own `main`"
)]

mod attempts;
mod child;
mod limits;
mod stage;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    if let Some(plan) = child::plan() {
        return child::main(plan);
    }
    let lacking = stage::missing_here();
    if !lacking.is_empty() {
        eprintln!("isolation cannot be tested here: {}", lacking.join("; "));
    }
    let needed = !lacking.is_empty();
    let trial = |name: &str, test: fn()| Trial::test(name, move || passes(test)).with_ignored_flag(needed);
    let trials = vec![
        trial("every_attempt_fails_and_training_works", attempts::every_attempt_fails_and_training_works),
        trial("without_isolation_the_attempts_succeed", attempts::without_isolation_the_attempts_succeed),
        trial("either_layer_alone_leaves_something_open", attempts::either_layer_alone_leaves_something_open),
        trial("security_md_names_every_attempt", attempts::security_md_names_every_attempt),
        trial("training_gives_the_same_bits_under_the_lock", attempts::training_gives_the_same_bits_under_the_lock),
        trial("a_missing_mechanism_is_reported_or_refused", limits::a_missing_mechanism_is_reported_or_refused),
        trial("threads_that_are_not_isolated_are_reported", limits::threads_that_are_not_isolated_are_reported),
        trial("memory_beyond_the_limit_ends_the_client", limits::memory_beyond_the_limit_ends_the_client),
        trial(
            "processor_time_beyond_the_limit_ends_the_client",
            limits::processor_time_beyond_the_limit_ends_the_client,
        ),
        trial("limits_hold_without_isolation", limits::limits_hold_without_isolation),
        trial("a_client_may_end_itself", limits::a_client_may_end_itself),
        trial("calls_of_another_architecture_end_the_client", limits::calls_of_another_architecture_end_the_client),
        trial("threads_are_the_policys_choice", limits::threads_are_the_policys_choice),
        trial("a_client_may_lend_to_its_pipe", limits::a_client_may_lend_to_its_pipe),
        trial("libraries_of_the_system_load", limits::libraries_of_the_system_load),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs a test; a panic is a failure, as in the standard harness.
fn passes(test: fn()) -> Result<(), Failed> {
    std::panic::catch_unwind(test).map_err(|_| Failed::without_message())
}
