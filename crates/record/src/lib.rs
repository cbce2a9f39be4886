//! The record of a run as data: its experiment, its files and their readers. No drawing, no process.
//!
//! - [`experiment`]: the sections of `experiment.toml`; [`experiment_key`], [`key_value`], [`format`](mod@format),
//!   [`seed`], [`memory_limit`]; [`experiment_text`]: the keys in words; [`key_names`]: the names by which users call
//!   keys; [`configuration`]: all values as text;
//! - [`catalogue`]: the tables of the things that an experiment can name;
//! - [`line`](mod@line): the lines of `ledger.jsonl` and their chain; [`round_line`], [`regression`],
//!   [`crash`], [`cause`], [`identity`], [`build`];
//! - [`history`]: a ledger, read back; [`partition_table`]: the examples of each client by class;
//! - [`client_scores`]: the scores on held-out examples; [`by_class`]: those of each class; [`target`]: the score to be
//!   reached; [`evaluated_clients`]: the clients that are scored;
//! - [`initial_file`]: the file of initial weights that an experiment names;
//! - [`timeline`]: the times of messages, epochs and phases;
//! - [`checkpoint`]: the state after a round; [`client_state`]: that of one client;
//! - [`summary`] and [`weights`]: the results; [`run_overview`]: a run in some lines; [`measure`]: its numbers;
//! - [`sweep`]: a grid of runs; [`run_folder`]: the refusal of a folder that holds no run;
//! - [`digest`], [`finite`], [`number_text`], [`names`], [`file`](mod@file): hashes, numbers, file names, reading.
//!
//! The host writes the run directory and locks it.

pub mod availability;
pub mod build;
pub mod by_class;
pub mod catalogue;
pub mod cause;
pub mod checkpoint;
pub mod client_scores;
pub mod client_state;
pub mod configuration;
pub mod crash;
pub mod digest;
pub mod epochs;
pub mod error;
pub mod evaluated_clients;
pub mod experiment;
pub mod experiment_key;
pub mod experiment_text;
pub mod file;
pub mod finite;
pub mod format;
pub mod history;
pub mod identity;
pub mod initial_file;
pub mod key_names;
pub mod key_value;
pub mod line;
pub mod measure;
pub mod memory_limit;
pub mod names;
pub mod number_text;
pub mod partition_table;
pub mod regression;
pub mod round_line;
pub mod run_folder;
pub mod run_overview;
pub mod seed;
pub mod summary;
pub mod sweep;
pub mod target;
pub mod timeline;
pub mod weights;

#[cfg(test)]
mod refusal_matrix;
