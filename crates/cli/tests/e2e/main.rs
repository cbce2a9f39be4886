//! fedpipe from end to end: every test starts the real binary, in a folder and with a cache of its own.
//!
//! Tests wait for events (an exit, a line in a log, a file), never for time to pass; [`common::eventually`] is what
//! bounds a wait that would otherwise be for ever.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod common;
mod flower;
mod house;
mod idx;
mod live;
mod losses;
mod outside;
mod processes;
mod resume;
mod run;
mod serve;
mod truth;
