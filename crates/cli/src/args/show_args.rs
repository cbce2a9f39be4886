//! The arguments of `fedpipe data show`: the keys of an experiment that decide a deal.

use std::path::PathBuf;

use clap::Args;

use crate::args::experiment_args::{ChosenArgs, DealKeys};

/// The arguments of `fedpipe data show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) deal: ChosenArgs<DealKeys>,
    /// Print the table with commas, in the shape of FedLab's partition_report, and nothing else
    #[arg(long)]
    pub(crate) csv: bool,
    /// The picture [default: partition.png, and none with --csv]
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
}
