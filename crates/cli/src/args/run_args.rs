//! The arguments of `fedpipe run`: the experiment, and how to run it here.

use std::path::PathBuf;

use clap::Args;

use crate::args::{experiment_args::ExperimentArgs, value::setting};

/// The arguments of `fedpipe run`. A flag that is absent leaves the value of `--config`, or the default.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
    /// Resume the interrupted run in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "config", "overwrite"])]
    pub(crate) resume: Option<PathBuf>,
    /// Resume although the experiment, the dylib or the dataset differ from those in the ledger
    #[arg(long, requires = "resume")]
    pub(crate) force: bool,
    /// Use clients elsewhere: each is a connection to this Unix socket, on which the Flower app listens
    #[arg(long, value_name = "SOCKET")]
    pub(crate) over: Option<PathBuf>,
    /// The run directory [default: runs/MODEL-N]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the run that --out holds, unless it is in progress; once the new one has begun, the old one is removed
    #[arg(long, requires = "out")]
    pub(crate) overwrite: bool,
    /// An experiment.toml; flags override its keys
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A key of experiment.toml, such as local.lr=0.05, or lr=0.05 for short; overrides flags; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Print the result only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
