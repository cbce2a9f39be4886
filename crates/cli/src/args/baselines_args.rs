//! The arguments of `fedpipe baselines`: an experiment, and its seeds.

use std::path::PathBuf;

use clap::Args;

/// The arguments of `fedpipe baselines`.
#[derive(Debug, Args)]
pub(crate) struct BaselinesArgs {
    /// An experiment.toml, such as `fedpipe init` writes
    #[arg(value_name = "FILE", required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) experiment: Option<PathBuf>,
    /// The seeds, a list (0,7) or a range with its end (0..4 is 0, 1, 2, 3 and 4); the three runs of a seed are a pair.
    /// With --resume the seeds are added to those of before [default: 0..2]
    #[arg(long, value_name = "SEEDS")]
    pub(crate) seeds: Option<String>,
    /// The folder of the runs, of the table's data and of baselines.png [default: runs/sweep-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the baselines in this folder: runs that are missing, unfinished or failed
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Runs at the same time [default: the machine's cores over the experiment's --jobs, which is then 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: Option<u32>,
    /// Print the tables only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
