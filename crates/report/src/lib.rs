//! Everything that is drawn from the record of a run. No process; the command draws after a run.
//!
//! - [`picture`]: `result.png`, accuracy and loss by round;
//! - [`partition_picture`]: `partition.png`, the examples of each client by class;
//! - [`comparison`]: groups of runs, with their means and deviations by [`statistics`];
//! - [`compare_picture`]: `compare.png`, the curves of groups of runs with error bands.

mod canvas;
pub mod compare_picture;
pub mod comparison;
pub mod partition_picture;
pub mod picture;
pub mod statistics;
