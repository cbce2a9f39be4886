//! The arguments of `fedpipe flower`.

use std::path::PathBuf;

use clap::Subcommand;

use crate::args::run_args::RunArgs;

/// A command of `fedpipe flower`.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowerCommand {
    /// Write a Flower app that runs an experiment, given as for `fedpipe run`
    #[command(allow_negative_numbers = true)]
    New {
        /// A folder that does not exist yet
        directory: PathBuf,
        #[command(flatten)]
        run: Box<RunArgs>,
    },
}
