//! A sweep: the grid of values, the work that is left of it, and the processes that do the work.
//!
//! A run of a sweep is a process of its own, which does what `fedpipe run` does. [`grid`] makes the experiments,
//! [`folder`] holds them, [`sweep_session`] does what is left of them, and [`workers`] starts a process for each.

pub(crate) mod folder;
pub(crate) mod grid;
pub(crate) mod sweep_session;
pub(crate) mod workers;
