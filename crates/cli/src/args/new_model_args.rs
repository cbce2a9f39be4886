//! The arguments of `fedpipe new-model`.

use std::path::PathBuf;

use clap::Args;

/// The folder of a new model, and the sources that it builds against.
#[derive(Debug, Args)]
pub(crate) struct NewModelArgs {
    /// A folder that does not exist yet; its name is that of the model
    pub(crate) directory: PathBuf,
    /// A clone of the repository of fedpipe [default: the crates that are installed with this command, or its clone]
    #[arg(long, value_name = "DIR")]
    pub(crate) repository: Option<PathBuf>,
}
