//! Everything that is drawn from the record of a run. No process; the command draws after a run.
//!
//! - [`picture`]: `result.png`, accuracy and loss by round.

pub mod picture;
