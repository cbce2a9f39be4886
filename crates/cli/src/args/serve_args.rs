//! The arguments of `fedpipe serve`.

use std::path::PathBuf;

use clap::Args;
use fedpipe_host::Level;
use fedpipe_record::memory_limit::MemoryLimit;

use crate::args::{
    experiment_args::{ChosenArgs, ServedKeys},
    value::level,
};

/// The arguments of `fedpipe serve`: a model, a partition with its test set, and the limits of the client.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The Unix socket on which to listen: a path of at most 107 bytes
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// A model's name or path, as for `fedpipe run` [default: the experiment's]
    #[arg(long, required_unless_present = "experiment")]
    pub(crate) model: Option<String>,
    /// The partition file to train on
    #[arg(long, value_name = "FILE", required_unless_present_any = ["experiment", "data"], requires = "test")]
    pub(crate) partition: Option<PathBuf>,
    /// The test set, a file in the format of a partition
    #[arg(long, value_name = "FILE", requires = "partition")]
    pub(crate) test: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: ChosenArgs<ServedKeys>,
    /// An experiment.toml instead of files: its dataset is dealt as a run deals it
    #[arg(long, value_name = "FILE", conflicts_with = "partition", requires = "client")]
    pub(crate) experiment: Option<PathBuf>,
    /// The client, from 0, whose partition of the experiment is served
    #[arg(long, value_name = "K", requires = "experiment")]
    pub(crate) client: Option<u32>,
    /// Seconds in which the client must answer, and in which a connection must begin a message and complete it
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    pub(crate) client_timeout: f64,
    /// As for `fedpipe run`; this machine decides the isolation of its client
    #[arg(long, value_name = "LEVEL", value_parser = level(), default_value_t = Level::Auto)]
    pub(crate) isolation: Level,
    /// As for `fedpipe run` [default: half of this machine's]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_limit: Option<MemoryLimit>,
    /// As for `fedpipe run` [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) cpu_limit: Option<u64>,
}
