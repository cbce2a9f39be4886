//! The work of each command, one file each. A function here takes parsed arguments and returns an exit code.

pub(crate) mod compare_runs;
pub(crate) mod diagnose;
pub(crate) mod draw_run;
pub(crate) mod evaluate_run;
pub(crate) mod explain_keys;
pub(crate) mod export_weights;
pub(crate) mod fetch_dataset;
pub(crate) mod list_datasets;
pub(crate) mod list_models;
pub(crate) mod list_rows;
pub(crate) mod list_runs;
pub(crate) mod predict_inputs;
pub(crate) mod reload_model;
pub(crate) mod run_baselines;
pub(crate) mod run_experiment;
pub(crate) mod run_sweep;
pub(crate) mod serve_partition;
pub(crate) mod shell_files;
pub(crate) mod show_partitions;
pub(crate) mod verify_run;
pub(crate) mod watch_run;
pub(crate) mod write_experiment;
pub(crate) mod write_flower_app;
pub(crate) mod write_model;
