//! The arguments of `fedpipe sweep`: an experiment, and the values of some keys.

use clap::Args;

use crate::args::{grid_args::GridArgs, value::setting};

/// The arguments of `fedpipe sweep`.
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// A key and its values: a list (lr=0.01,0.1), a range with its end (seed=0..4 is 0, 1, 2, 3 and 4), or a TOML
    /// array. A value with a comma is in quotes ('model-options.hidden="256,64","128"'), except the parameters of a
    /// rule (strategy=fedavg,fedavgm:rate=1,beta=0.5 has two values). May be repeated. With --resume the values are
    /// added to those of the sweep
    #[arg(long, value_name = "KEY=VALUES", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) grid: GridArgs,
}
