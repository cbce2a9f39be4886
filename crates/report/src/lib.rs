//! Everything that is drawn from the record of a run. No process; the command draws after a run.
//!
//! - [`picture`]: `result.png`, accuracy and loss by round;
//! - [`partition_picture`]: `partition.png`, the examples of each client by class.

mod canvas;
pub mod partition_picture;
pub mod picture;
