//! The arguments of each command that runs one experiment with several values, in a folder of its own.

use std::path::PathBuf;

use clap::Args;

/// An experiment whose runs fill a folder, or a folder whose runs continue.
#[derive(Debug, Args)]
pub(crate) struct GridArgs {
    /// An experiment.toml, such as `fedpipe init` writes
    #[arg(value_name = "FILE", required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) experiment: Option<PathBuf>,
    /// The folder of the runs [default: runs/sweep-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue in this folder: runs that are missing, unfinished or failed
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Runs at the same time [default: the machine's cores over the experiment's --jobs, which is then 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: Option<u32>,
    /// Print the result only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
