//! fedpipe from end to end. Every test starts the real binary, in a folder and with a cache of its own.
//!
//! Tests wait for events (an exit, a line in a log, a file), never for time to pass. [`common::eventually`] limits the
//! waits that would otherwise be endless.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot continue has failed")]

mod bad_input;
mod baselines;
mod client_state;
mod common;
mod convergence;
mod dishonest_clients;
mod doctor;
mod file_systems;
mod fixed_points;
mod flower;
mod house;
mod identity;
mod idx;
mod isolation;
#[allow(dead_code, reason = "only the tests of faults use some of it")]
mod live;
mod local_tensors;
mod markdown;
mod metrics;
mod model_crates;
mod models;
mod over;
mod overwrite;
mod own_data;
mod partitions;
mod personal_methods;
mod processes;
mod readme;
mod readme_command;
mod refused_starts;
mod refusing;
mod regression;
mod result_in_use;
mod resume;
mod run;
mod serve;
mod shims;
mod standard_streams;
mod stop;
mod strategy;
mod strategy_rows;
mod sweep;
mod threads;
mod truth;
mod tutorial;
mod user_programs;
mod verify;
mod virtual_time;
