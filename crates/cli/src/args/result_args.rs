//! The arguments of the commands that use the result of a run.

use std::path::PathBuf;

use clap::Args;
use fedpipe_data::{ImageSize, Source};

/// The arguments of `fedpipe evaluate`.
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// The directory of a run that has ended
    pub(crate) run: PathBuf,
    /// Other data than the run's test set, as for `fedpipe run`: their test set, or all their examples if there is none
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<Source>,
    /// The column of a table that has the targets [default: that of the run]
    #[arg(long, value_name = "COLUMN", requires = "data")]
    pub(crate) label: Option<String>,
    /// The size to which images are scaled [default: that of the run]
    #[arg(long, value_name = "SIZE", requires = "data")]
    pub(crate) image_size: Option<ImageSize>,
    /// Print the scores as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `fedpipe predict`.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The directory of a run that has ended
    pub(crate) run: PathBuf,
    /// Images (png, jpeg), tables of features (csv, tsv) and NumPy arrays (npy)
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The most classes that are shown for each example
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    /// Print each example as a line of JSON, with all classes
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print a table with commas, with all classes
    #[arg(long)]
    pub(crate) csv: bool,
}

/// The arguments of `fedpipe export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The directory of a run that has ended
    pub(crate) run: PathBuf,
    /// The file, which must not exist [default: the name of the run, with .safetensors, in this folder]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// The arguments of `fedpipe report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A run directory
    pub(crate) run: PathBuf,
    /// Draw from the record alone, without examples of mistakes, for which a client predicts the test set
    #[arg(long)]
    pub(crate) record_only: bool,
    /// The most examples of mistakes
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) mistakes: usize,
    /// Write trace.json, the timeline for Perfetto, too
    #[arg(long)]
    pub(crate) trace: bool,
    /// Write the file that TensorBoard reads, too
    #[arg(long)]
    pub(crate) tensorboard: bool,
}

/// The arguments of `fedpipe watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// A run directory
    pub(crate) run: PathBuf,
}
