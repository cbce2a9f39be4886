//! Everything that the command prints: a run as it goes, crashes, the progress of data, results and errors.

mod bar;
pub(crate) mod baselines_text;
pub(crate) mod compare_text;
mod crash_text;
pub(crate) mod data_progress;
pub(crate) mod dataset_text;
mod live_line;
pub(crate) mod output;
pub(crate) mod partition_text;
pub(crate) mod result_text;
pub(crate) mod run_screen;
pub(crate) mod run_text;
mod score_text;
pub(crate) mod sweep_text;
pub(crate) mod text_table;
pub(crate) mod watch_screen;
