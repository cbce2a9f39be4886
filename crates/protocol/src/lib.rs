//! The messages between fedpipe's host and its clients, and their framing over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write).
//!
//! This crate has no process, no learning, and no I/O beyond those two traits. `README.md` beside the manifest
//! specifies the protocol for clients in other languages.
//!
//! The client sends [`Reply::Hello`] first, and the host answers with [`Request::Setup`]. The client loads its model
//! and sends [`Reply::Ready`]. Then each [`Request`] gets one [`Reply`]. The client ends when its pipe ends.

#[cfg(not(target_endian = "little"))]
compile_error!("frames are little-endian and read in place");

mod constants;
mod evaluate_message;
pub mod feature;
mod frame;
mod isolation;
mod message;
mod regression_sums;
mod setup_message;
mod strategy_message;
mod train_message;
mod weight_layout;

pub use constants::{
    ANCHOR, CONFUSION, EVALUATION_BLOCK, LAUNCH, LEDGER, LINEAR, LOCAL, MOMENTUM, MOST_VECTORS, PROTOCOL, RESIDUAL,
    SCORED_ROWS, SCORES, WEIGHTS,
};
pub use evaluate_message::{BlockSums, Evaluate, Predictions};
pub use frame::{
    Dtype, FrameError, FrameStart, Limits, MAGIC, MAX_HEADER, MAX_REPLY_HEADER, Part, PartData, Parts, Spare, begin,
    header_length, read, write, write_header,
};
pub use isolation::{InForce, Isolation, Level};
pub use message::{FailureKind, ProgramLaunch, Reply, Request};
pub use regression_sums::RegressionSums;
pub use setup_message::{HeldPartition, Kind, OptionSpec, Place, Purpose, Ready, Setup, Target, Task, Tensor};
pub use strategy_message::{Ability, Aggregate, StrategyReply, StrategyRequest, StrategySetup};
pub use train_message::{Phase, PhaseStart, ScoreStart, StartScore, Train, Update};
pub use weight_layout::{Layout, LayoutError, with_local};
