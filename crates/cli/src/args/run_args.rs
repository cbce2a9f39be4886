//! The arguments of `fedpipe run`: the experiment, and how to run it here.

use std::path::PathBuf;

use clap::Args;
use fedpipe_data::{Scheme, Source};
use fedpipe_host::Level;
use fedpipe_record::memory_limit::MemoryLimit;
use fedpipe_strategy::{local_optimiser::LocalOptimiser, strategy::Strategy};
use serde::{Serialize, Serializer};

use crate::args::value::{level, pair, whole_number};

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
    /// A key of experiment.toml; overrides flags; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Print the result only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// The flags that are keys of `experiment.toml`. Their serialized form has those that were given.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ExperimentArgs {
    /// A model's name (see `fedpipe models`), or the path of a dylib, which has a `/` in it
    #[arg(required_unless_present_any = ["client", "config", "resume"], conflicts_with = "client")]
    pub(crate) model: Option<String>,
    /// A client of your own instead of a model, such as "python3 client.py"; crates/protocol/README.md has its protocol
    #[arg(long, value_name = "COMMAND")]
    pub(crate) client: Option<String>,

    /// Clients, each with a partition of its own [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) clients: Option<u32>,
    /// Rounds [default: 5]
    #[arg(long, value_name = "N", value_parser = whole_number(), conflicts_with = "until_converged")]
    pub(crate) rounds: Option<u64>,
    /// Run until the loss no longer falls
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) until_converged: bool,
    /// The last round of a run with --until-converged [default: 200]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    pub(crate) max_rounds: Option<u64>,
    /// Part of the loss's whole fall that counts as none, three rounds in a row [default: 0.02]
    #[arg(long, value_name = "X")]
    pub(crate) tolerance: Option<f64>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(serialize_with = "serialize_seed")]
    pub(crate) seed: Option<u64>,

    /// fashion-mnist, sample, or a directory of IDX files [default: fashion-mnist]
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<Source>,
    /// iid, dirichlet:alpha=0.3, shards:per-client=2, or own: clients elsewhere (--over) have their data [default: iid]
    #[arg(long, value_name = "SCHEME")]
    pub(crate) partition: Option<Scheme>,
    /// fedavg, fedavgm:beta=0.9, fedadam:rate=0.01 [default: fedavg]
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: Option<Strategy>,
    /// A strategy of your own instead, such as "python3 strategy.py"; it receives the updates of each round
    #[arg(long, value_name = "COMMAND", conflicts_with = "strategy")]
    pub(crate) strategy_program: Option<String>,
    /// Part of the clients that is sampled for each round [default: 1]
    #[arg(long, value_name = "X")]
    pub(crate) fraction: Option<f64>,

    /// Local epochs a round [default: 1]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    pub(crate) epochs: Option<u64>,
    /// Examples a mini-batch [default: 32]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    pub(crate) batch_size: Option<u64>,
    /// Local learning rate [default: 0.1, with adam 0.001]
    #[arg(long, value_name = "X")]
    pub(crate) lr: Option<f32>,
    /// sgd, sgd:momentum=0.9, adam [default: sgd]
    #[arg(long, value_name = "OPTIMISER")]
    pub(crate) optimiser: Option<LocalOptimiser>,
    /// An option of the model, such as hidden=256,64; may be repeated
    // The options are added to those of `--config`, each by its own key.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    #[serde(skip)]
    pub(crate) model_option: Vec<(String, String)>,

    /// The cost of a crashed client: retry (nothing), drop (its update of the round), abort (the run) [default: retry]
    #[arg(long, value_name = "POLICY", value_parser = ["retry", "drop", "abort"])]
    pub(crate) on_failure: Option<String>,
    /// Fewest updates with which a round succeeds [default: half of the sampled clients]
    #[arg(long, value_name = "N")]
    pub(crate) min_clients: Option<u32>,
    /// Seconds in which a client, or a strategy of your own, must answer [default: 600]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) client_timeout: Option<f64>,
    /// Client processes; if there are fewer than clients, each serves several in turn [default: one a client up to 64,
    /// then two a job, or one with --client or --jobs 1]
    #[arg(long, value_name = "N")]
    pub(crate) processes: Option<u32>,
    /// Clients that train at the same time [default: the machine's cores]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<u32>,

    /// The isolation that the kernel enforces on clients and a strategy of your own: require (all of it, or no run),
    /// auto (as much as it can), off [default: auto]
    #[arg(long, value_name = "LEVEL", value_parser = level())]
    pub(crate) isolation: Option<Level>,
    /// Memory that a client's model may take, such as 512M or 2G, or none [default: half of the machine's over the
    /// processes, at least 256M]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_limit: Option<MemoryLimit>,
    /// Seconds of processor time that a client process may take, over all rounds [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = whole_number())]
    pub(crate) cpu_limit: Option<u64>,

    /// Rounds from one checkpoint to the next [default: 1]
    #[arg(long, value_name = "N", value_parser = whole_number())]
    pub(crate) checkpoint_every: Option<u64>,
}

/// Serializes a seed as a number, or as text where TOML has no number for it.
fn serialize_seed<S: Serializer>(seed: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match seed {
        Some(seed) if i64::try_from(*seed).is_err() => serializer.collect_str(seed),
        seed => seed.serialize(serializer),
    }
}
