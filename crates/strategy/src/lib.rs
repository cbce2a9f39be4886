//! The rules of federated learning, as pure functions, and the tables that name them.
//!
//! - [`strategy`]: a [`Strategy`](strategy::Strategy), parsed from its text by [`table`];
//! - [`server`]: server optimisers, which move the global weights, and their state;
//! - [`sample`]: the clients of a round;
//! - [`convergence`]: the end of a run;
//! - [`local_optimiser`]: the optimiser of a client, as it is named and checked;
//! - [`range`]: the range of weights.
//!
//! Absent on purpose: clocks, threads, files and global random state. Averaging is the host's, which splits it
//! over the cores.

pub mod convergence;
pub mod local_optimiser;
pub mod range;
pub mod sampler;
pub mod server;
pub mod strategy;
pub mod table;
