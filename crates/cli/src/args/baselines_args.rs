//! The arguments of `fedpipe baselines`: an experiment, and its seeds.

use clap::Args;

use crate::args::grid_args::GridArgs;

/// The arguments of `fedpipe baselines`.
#[derive(Debug, Args)]
pub(crate) struct BaselinesArgs {
    /// The seeds, a list (0,7) or a range with its end (0..4 is 0, 1, 2, 3 and 4); the three runs of a seed are a pair.
    /// With --resume the seeds are added to those of before [default: 0..2]
    #[arg(long, value_name = "SEEDS")]
    pub(crate) seeds: Option<String>,
    #[command(flatten)]
    pub(crate) grid: GridArgs,
}
