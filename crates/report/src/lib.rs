//! Everything that is drawn from the record of a run. No process; the command draws after a run.
//!
//! - [`picture`]: `result.png`, accuracy and loss by round;
//! - [`partition_picture`]: `partition.png`, the examples of each client by class;
//! - [`report_page`]: `report.html`, all of a run for a browser; [`mistakes`]: its examples of mistakes;
//! - [`trace_file`]: `trace.json`, the timeline for Perfetto;
//! - [`metrics_table`]: `metrics.csv`, the numbers of each round;
//! - [`event_file`]: the file that TensorBoard reads;
//! - [`comparison`]: groups of runs, with their means and deviations by [`statistics`];
//! - [`compare_picture`]: `compare.png`, the curves of groups of runs with error bands.

mod axes;
mod canvas;
pub mod compare_picture;
pub mod comparison;
pub mod event_file;
pub mod metrics_table;
pub mod mistakes;
mod page_data;
pub mod partition_picture;
pub mod picture;
pub mod report_page;
mod score_panels;
pub mod statistics;
mod timeline_rows;
pub mod trace_file;
