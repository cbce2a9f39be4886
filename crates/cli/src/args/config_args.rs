//! The arguments of `fedpipe init` and `fedpipe config`.

use std::path::PathBuf;

use clap::Args;
use fedpipe_record::key_names::path_of;

/// The arguments of `fedpipe init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// A file that does not exist yet
    #[arg(default_value = "experiment.toml", value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// The arguments of `fedpipe config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Explain this key alone, such as local.lr, or lr for short
    #[arg(long, value_name = "KEY", value_parser = path_of)]
    pub(crate) explain: Option<String>,
}
