//! The rules of federated learning, as pure functions, and the tables that name them.
//!
//! - [`strategy`]: a [`Strategy`](strategy::Strategy) is a composition of rows, which a [`preset`] fills;
//! - [`sampler`]: the clients of a round;
//! - [`term`]: the terms that a client adds to its loss, and the state that belongs to them;
//! - [`transform`]: the bound and the encoding of an update on the pipe;
//! - [`attack`]: the attacks of dishonest clients, which the host plays;
//! - [`weighting`]: the weight of an update;
//! - [`pre_aggregator`]: other vectors in the place of the updates, for a robust aggregator;
//! - [`aggregator`]: one weight vector from the updates;
//! - [`server`]: the step of the global weights from the aggregate;
//! - [`closed_round`]: the updates of a round, on their way to the rules;
//! - [`refusals`]: the rows that do not combine;
//! - [`slots`]: the state of the rules between rounds;
//! - [`vector_math`]: sums over the updates, which the host splits over its cores;
//! - [`convergence`]: the end of a run;
//! - [`local_optimiser`]: the optimiser of a client, as it is named and checked;
//! - [`local_work`]: the epochs or steps of a client;
//! - [`uneven_work`]: the part of this work that a client does in a round;
//! - [`lr_schedule`]: the local learning rate of each round;
//! - [`schedule`]: how many updates make new weights, and what becomes of a stale one;
//! - [`clock`]: the simulated speed and link of each client;
//! - [`range`]: the range of weights.
//!
//! Absent on purpose: real clocks, threads, files and global random state.

pub mod aggregator;
pub mod attack;
pub mod clock;
pub mod closed_round;
pub mod convergence;
pub mod local_optimiser;
pub mod local_work;
pub mod lr_schedule;
mod neighbours;
pub mod pre_aggregator;
pub mod preset;
pub mod range;
pub mod refusals;
pub mod sampler;
pub mod schedule;
pub mod server;
pub mod slots;
mod sorted_columns;
pub mod strategy;
pub mod term;
pub mod transform;
pub mod uneven_work;
pub mod vector_math;
pub mod weighting;

#[cfg(test)]
mod independent;
#[cfg(test)]
mod vectors;
