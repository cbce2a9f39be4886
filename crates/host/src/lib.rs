//! The host: runs an experiment. It starts and supervises clients, runs rounds, aggregates, and keeps the ledger.
//!
//! | room | content |
//! |---|---|
//! | `run` | rounds, ledger, checkpoints, resume, verify; `run/mod.rs` opens with the loop of rounds |
//! | `fleet` | all client processes: slots, queues, cores, readiness, crashes |
//! | `process` | one client process: spawn, pipes, conversation, exit and its cause, log, descendants |
//! | `inference` | the use of a result: scores and predictions by the final weights of a run |
//! | `node` | `fedpipe serve`: a client process behind a Unix socket |
//! | `experiment` | what this machine decides of an experiment: launch, limits, commands |
//! | `disk` | temporary folders, locks, file systems that forbid execution |
//! | `error` | the errors that end a run, and the causes of a failed start |
//!
//! The host never loads a model and never reads a training row: `fedpipe_data` deals the rows out before any client
//! exists.

mod disk;
mod error;
mod experiment;
mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod inference;
mod node;
mod process;
mod run;

pub use disk::{
    TemporaryFolder,
    folder_check::{FolderCheck, check_folder},
    temporary_folder,
};
pub use error::{
    Error, Result,
    start_error::{StartCall, StartError},
};
pub use experiment::{launch::Launch, limits::isolation, processes::process_count};
pub use fedpipe_protocol::{Isolation, Level, Ready};
pub use fleet::{
    control::{Control, Handle},
    describe::{describe, describe_program},
};
pub use inference::{ExampleScores, InferenceHost, TrainedRun};
pub use node::serve::{Node, Service};
pub use process::spawn::{ClientCommand, processes_within_limit};
pub use run::{
    aggregate::{AllCores, weighted_mean},
    directory::is_at_work,
    event::{Event, Observer},
    reload::request_reload,
    resume,
    resume::{Resume, under_way},
    run_from_start,
    verify::{Outcome, Verification, VerifyRequest, verify},
};
