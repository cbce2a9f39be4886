//! The host: runs an experiment. It starts and supervises clients, runs rounds, aggregates, and keeps the ledger.
//!
//! | room | content |
//! |---|---|
//! | [`run`] | rounds, ledger, checkpoints, resume, verify; `run/mod.rs` opens with the loop of rounds |
//! | `fleet` | all client processes: slots, queues, cores, readiness, crashes |
//! | `process` | one client process: spawn, pipes, conversation, exit and its cause, log, descendants |
//! | `node` | `fedpipe serve`: a client process behind a Unix socket |
//! | `experiment` | what this machine decides of an experiment: launch, limits, commands |
//!
//! The host never loads a model and never reads a training row: `fedpipe_data` deals the rows out before any client
//! exists.

mod convergence;
mod disk;
mod error;
mod experiment;
mod finite;
mod fleet;
#[cfg(fuzzing)]
pub mod fuzzing;
mod node;
mod optimiser;
mod picture;
mod process;
mod run;
mod sampling;
mod strategy;

pub use convergence::{Convergence, PATIENCE, relative_change};
pub use error::{Error, Result};
pub use experiment::{
    Experiment, Launch, OnFailure,
    limits::{MemoryLimit, isolation},
};
pub use fedpipe_protocol::{Isolation, Level, Ready};
pub use finite::{Finite, NotFinite};
pub use fleet::describe::{describe, describe_foreign};
pub use node::serve::{Node, Service, Stopper};
pub use optimiser::LocalOptimiser;
pub use process::{
    cause::Cause,
    inbox::{Control, Handle},
    spawn::ClientCommand,
    start_error::{StartCall, StartCause, StartError},
};
pub use run::{
    event::{Event, Lost, Observer, Round, Then},
    identity::Program,
    reload::request_reload,
    resume,
    resume::{Resume, under_way},
    run,
    summary::{Stop, Summary, safetensors, weights_sha256},
    verify::{Outcome, Verification, verify},
};
pub use sampling::sample;
pub use strategy::{
    Accepted, Overflow, Strategy,
    aggregate::weighted_mean,
    server::{ServerOptimiser, ServerState},
};
