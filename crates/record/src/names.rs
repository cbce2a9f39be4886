//! The names of the files in a run directory.

use std::{ffi::OsStr, path::Path};

use crate::client_state::ClientFile;

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

/// The folder of the clients' states.
pub const STATE: &str = "state";

/// The folder of the clients' logs.
pub const LOGS: &str = "clients";

/// The start of the name of a file that is not yet in its place.
pub(crate) const UNPLACED: &str = ".new-";

/// The summary.
pub const SUMMARY: &str = "summary.json";

/// The final weights.
pub const FINAL_WEIGHTS: &str = "model.safetensors";

/// The run's copy of the initial weights that the experiment names.
pub const INITIAL_WEIGHTS: &str = "initial.safetensors";

/// The times of messages, epochs and phases.
pub const TIMELINE: &str = "timeline.jsonl";

/// The report.
pub const REPORT: &str = "report.html";

/// The timeline as Chrome and Perfetto read it.
pub const TRACE: &str = "trace.json";

/// The numbers of each round.
pub const METRICS: &str = "metrics.csv";

/// The start of the name of a file that TensorBoard reads.
pub const TENSORBOARD: &str = "events.out.tfevents.";

/// The picture.
pub const PICTURE: &str = "result.png";

/// The picture of the partitions.
pub const PARTITION_PICTURE: &str = "partition.png";

/// The start and the end of the name of a split by hand.
const SPLIT: [&str; 2] = ["split-", ".csv"];

/// Returns the name of a split by hand with this content.
pub fn split_file(sha256: &str) -> String {
    let [start, end] = SPLIT;
    format!("{start}{sha256:.16}{end}")
}

/// The start and the end of the name of a clock's file.
const CLOCK: [&str; 2] = ["clock-", ".csv"];

/// Returns the name of a clock's file with this content.
pub fn clock_file(sha256: &str) -> String {
    let [start, end] = CLOCK;
    format!("{start}{sha256:.16}{end}")
}

/// Returns the name of a dylib that is used from `round` on.
pub fn model_from(round: u64) -> String {
    format!("{MODEL_FROM}{round:06}.so")
}

/// Returns `true` for a path, relative to the run directory, that a run makes, also if the run was killed.
pub fn is_part_of_run(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    match path.parent().and_then(Path::to_str) {
        Some("") => is_entry_of_run(name),
        Some(CHECKPOINTS) => is_checkpoint(name) || name.starts_with(UNPLACED),
        Some(STATE) => ClientFile::round_of(name).is_some(),
        Some(LOGS) => is_log(name),
        _ => false,
    }
}

fn is_checkpoint(name: &str) -> bool {
    let parts = name.strip_suffix(".safetensors").and_then(|stem| stem.split_once('-'));
    parts.is_some_and(|(round, digest)| is_number(round) && digest.chars().all(|c| c.is_ascii_hexdigit()))
}

fn is_log(name: &str) -> bool {
    name.strip_suffix(".log").is_some_and(|client| client == "strategy" || is_number(client))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn is_entry_of_run(name: &str) -> bool {
    let parts = [
        CHECKPOINTS,
        EXPERIMENT,
        INITIAL_WEIGHTS,
        LEDGER,
        LOCK,
        LOGS,
        METRICS,
        MODEL,
        PARTITION_PICTURE,
        PARTITIONS,
        PICTURE,
        REPORT,
        STATE,
        SUMMARY,
        FINAL_WEIGHTS,
        TIMELINE,
        TRACE,
    ];
    let is_named_by_hash = |[start, end]: [&str; 2]| {
        let hash = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        hash.is_some_and(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()))
    };
    is_named_by_hash(SPLIT)
        || is_named_by_hash(CLOCK)
        || parts.contains(&name)
        || name.starts_with(MODEL_FROM)
        || name.starts_with(TENSORBOARD)
        || name.starts_with(UNPLACED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_no_part_of_a_run() {
        let parts = [
            "ledger.jsonl",
            "result.png",
            "partition.png",
            "initial.safetensors",
            "report.html",
            "events.out.tfevents.1700000000.fedpipe",
            "split-0123456789abcdef.csv",
            "clock-0123456789abcdef.csv",
            "model-from-000003.so",
            ".new-x1",
            "clients",
            "checkpoint",
            "clients/000.log",
            "clients/strategy.log",
            "checkpoint/000012-0a1b.safetensors",
            "checkpoint/.new-x1",
            "state",
            "state/000003-000012.safetensors",
        ];
        for part in parts {
            assert!(is_part_of_run(Path::new(part)), "{part}");
        }
        let others = [
            "thesis.tex",
            "split-mine.csv",
            "clients/thesis.tex",
            "clients/a.log",
            "checkpoint/data.csv",
            "checkpoint/mine",
            "state/mine.safetensors",
            "checkpoint/mine.safetensors",
            "clients/x/000.log",
            "data/ledger.jsonl",
        ];
        for other in others {
            assert!(!is_part_of_run(Path::new(other)), "{other}");
        }
    }
}
