//! The messages between fedpipe's host and its clients, and their framing over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write).
//!
//! This crate has no process, no learning, and no I/O beyond those two traits. `README.md` beside the manifest
//! specifies the protocol for clients in other languages.
//!
//! The order of messages: the client sends [`Reply::Hello`]; the host sends [`Request::Setup`]; the client loads its
//! model and sends [`Reply::Ready`]; then each [`Request`] gets one [`Reply`]. The client ends when its pipe ends.

#[cfg(not(target_endian = "little"))]
compile_error!("frames are little-endian and read in place");

mod frame;
mod isolation;
mod layout;
mod message;
mod strategy_message;

pub use frame::{
    Dtype, FrameError, FrameStart, Limits, MAGIC, MAX_HEADER, Part, PartData, Parts, Spare, begin, header_length, read,
    write, write_header,
};
pub use isolation::{InForce, Isolation, Level};
pub use layout::{Layout, LayoutError};
pub use message::{
    BlockSums, Evaluate, FailureKind, HeldPartition, Kind, OptionSpec, Place, ProgramLaunch, Purpose, Ready, Reply,
    Request, Setup, Task, Tensor, Train, Update,
};
pub use strategy_message::{Aggregate, StrategyReply, StrategyRequest, StrategySetup, UpdateHeader};

/// The protocol version in [`Reply::Hello`]. Any change to a message or to the framing needs a new version.
pub const PROTOCOL: u32 = 1;

/// The number of test examples in a block of evaluation.
///
/// Blocks are merged in block order, so the bits of the loss do not depend on the number of clients that evaluate.
pub const EVALUATION_BLOCK: usize = 500;

/// The first argument that makes `fedpipe-client` the launcher of another program. The usual three arguments follow.
pub const LAUNCH: &str = "launch";

/// The name of the ledger file. A folder that holds one is a run directory, and no launcher lets a program read it.
pub const LEDGER: &str = "ledger.jsonl";

/// The name of the part that holds the flat weights.
pub const WEIGHTS: &str = "weights";
