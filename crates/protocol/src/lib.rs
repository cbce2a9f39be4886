//! The messages between fedpipe's host and its clients, and their framing over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write).
//!
//! There is no process here and no learning, and no I/O beyond those two traits. `README.md` beside the manifest
//! specifies the same for clients in other languages.
//!
//! The order of messages: the client says [`Reply::Hello`]; the host answers [`Request::Setup`]; the client loads its
//! model and says [`Reply::Ready`]; from then on each [`Request`] has one [`Reply`]. The end of the pipe ends the client.

#[cfg(not(target_endian = "little"))]
compile_error!("frames are little-endian and read in place");

mod frame;
mod isolation;
mod layout;
mod message;
mod strategy;

pub use frame::{
    Begun, Data, Dtype, FrameError, Limits, MAGIC, MAX_HEADER, Part, Parts, Spare, begin, header_length, read, write,
    write_header,
};
pub use isolation::{InForce, Isolation, Level};
pub use layout::{Layout, LayoutError};
pub use message::{
    BlockSums, Evaluate, FailureKind, Held, Kind, Launch, OptionSpec, Place, Purpose, Ready, Reply, Request, Setup,
    Task, Tensor, Train, Update,
};
pub use strategy::{Aggregate, StrategyReply, StrategyRequest, StrategySetup, UpdateHeader};

/// The version that [`Reply::Hello`] carries. Any change to a message or to the framing is a new one.
pub const PROTOCOL: u32 = 1;

/// Evaluation runs in blocks of this many test examples, merged in block order, so that the bits of the loss do not
/// depend on how many clients share the work.
pub const EVALUATION_BLOCK: usize = 500;

/// The argument, before the usual three, with which fedpipe's own client becomes another program, confined, instead of
/// loading a dylib.
pub const LAUNCH: &str = "launch";

/// The name of the file that makes a folder a run directory. No launcher opens such a folder to a program.
pub const LEDGER: &str = "ledger.jsonl";

/// The name of the part that holds the flat weights.
pub const WEIGHTS: &str = "weights";
