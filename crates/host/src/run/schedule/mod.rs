//! Schedules: the trainings of a round, in which order their updates arrive in virtual time, and when the jobs of a
//! batch are submitted. Real time is in none of it.
//!
//! A round without a clock is one batch. With a clock, [`timed_round`] decides who is in time, and [`buffer_round`]
//! follows the events of [`flights`]. [`virtual_clock`] has the time of a training.

mod buffer_round;
pub(super) mod flights;
pub(super) mod job_batch;
#[cfg(test)]
mod tests;
mod timed_round;
pub(super) mod timing;
pub(super) mod virtual_clock;

use fedpipe_record::cause::Cause;

/// Returns the cause of a training that did not succeed in the run that this run repeats.
pub(super) fn dropped() -> Cause {
    Cause::rejected("no update arrived in the run that this one repeats")
}
