//! The optional abilities of a client, by name. A client lists them in `ready`; a strategy that needs another one is
//! refused before the first round.

/// The client keeps the weights that it received last.
pub const KEEPS_WEIGHTS: &str = "keeps-weights";

/// The client does several phases in one request, and starts a phase from any weights.
pub const PHASES: &str = "phases";

/// The client ends a phase after a number of mini-batches.
pub const STEP_LIMIT: &str = "step-limit";

/// The client adds a proximal term to its loss.
pub const PROXIMAL: &str = "proximal";

/// The client adds a linear term to its loss.
pub const LINEAR: &str = "linear";

/// The client keeps the bits of frozen tensors.
pub const FROZEN: &str = "frozen";

/// The client scores the weights that it received before it trains.
pub const SCORE_START: &str = "score-start";

/// The client takes its own values of local tensors from the part `local`.
pub const LOCAL_TENSORS: &str = "local-tensors";

/// The client evaluates its partition.
pub const EVALUATE_PARTITION: &str = "evaluate-partition";

/// The features of fedpipe's own client, besides the transforms.
pub const ALL: [&str; 9] =
    [KEEPS_WEIGHTS, PHASES, STEP_LIMIT, PROXIMAL, LINEAR, FROZEN, SCORE_START, LOCAL_TENSORS, EVALUATE_PARTITION];

/// Returns the feature that a transform of this name needs.
pub fn of_transform(name: &str) -> String {
    format!("compress:{name}")
}
