//! The names of the files in a run directory.

/// The experiment.
pub const EXPERIMENT: &str = "experiment.toml";

/// The ledger.
pub const LEDGER: &str = fedpipe_protocol::LEDGER;

/// The lock, which holds the host's process number.
pub const LOCK: &str = "host.pid";

/// The dylib that the run starts with.
pub const MODEL: &str = "model.so";

/// The start of the name of a dylib that was taken later.
pub const MODEL_FROM: &str = "model-from-";

/// The list of all partitions and the test set, with the SHA-256 of each.
pub const PARTITIONS: &str = "partitions.sha256";

/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoint";

/// The folder of the clients' logs.
pub const LOGS: &str = "clients";

/// The start of the name of a file that is not yet in its place.
pub(crate) const DRAFT: &str = ".new-";

/// The summary.
pub const SUMMARY: &str = "summary.json";

/// The final weights.
pub const WEIGHTS: &str = "model.safetensors";

/// The picture.
pub const PICTURE: &str = "result.png";

/// Returns the name of a dylib that is used from `round` on.
pub fn model_from(round: u64) -> String {
    format!("{MODEL_FROM}{round:06}.so")
}

/// Returns `true` for the name of a file or folder that a run makes in its directory, also if the run was killed.
pub fn is_part_of_run(name: &str) -> bool {
    let parts = [CHECKPOINTS, EXPERIMENT, LEDGER, LOCK, LOGS, MODEL, PARTITIONS, PICTURE, SUMMARY, WEIGHTS];
    parts.contains(&name) || name.starts_with(MODEL_FROM) || name.starts_with(DRAFT)
}
