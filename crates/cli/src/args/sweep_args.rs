//! The arguments of `fedpipe sweep`: an experiment, and the values of some keys.

use std::path::PathBuf;

use clap::Args;

use crate::args::value::setting;

/// The arguments of `fedpipe sweep`.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// An experiment.toml, such as `fedpipe init` writes
    #[arg(value_name = "FILE", required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) experiment: Option<PathBuf>,
    /// A key and its values: a list (lr=0.01,0.1), a range with its end (seed=0..4 is 0, 1, 2, 3 and 4), or a TOML
    /// array. A value with a comma is in quotes ('model-options.hidden="256,64","128"'), except the parameters of a
    /// rule (strategy=fedavg,fedavgm:rate=1,beta=0.5 has two values). May be repeated. With --resume the values are
    /// added to those of the sweep
    #[arg(long, value_name = "KEY=VALUES", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// The folder of the sweep [default: runs/sweep-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the sweep in this folder: runs that are missing, unfinished or failed
    #[arg(long, value_name = "DIR")]
    pub(crate) resume: Option<PathBuf>,
    /// Runs at the same time [default: the machine's cores over the experiment's --jobs, which is then 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: Option<u32>,
    /// Print the table only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
