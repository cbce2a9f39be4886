//! Schedules: when the jobs of a round are submitted, and when their results are used.

pub(super) mod synchronous;
