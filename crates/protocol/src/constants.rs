//! Constants that host and client share: the version, names, and the size of a block of evaluation.

/// The protocol version in [`Reply::Hello`](crate::message::Reply::Hello). Any change to a message or to the framing
/// needs a new version.
pub const PROTOCOL: u32 = 2;

/// The number of test examples in a block of evaluation.
///
/// Blocks are merged in block order, so the bits of the loss do not depend on the number of clients that evaluate.
pub const EVALUATION_BLOCK: usize = 500;

/// The first argument that makes `fedpipe-client` the launcher of another program. The usual three arguments follow.
pub const LAUNCH: &str = "launch";

/// The name of the ledger file. A folder that holds one is a run directory, and no launcher lets a program read it.
pub const LEDGER: &str = "ledger.jsonl";

/// The name of the part that holds the flat weights.
pub const WEIGHTS: &str = "weights";

/// The most training rows on which received weights are scored before a training.
pub const SCORED_ROWS: usize = 512;

/// The most parts of a request that are as long as the weights. These are the weights, an anchor, a linear term, local
/// tensors, a residual, and the weights from which phases start.
pub const MOST_VECTORS: u64 = 8;

/// The name of the part that holds the confusion matrix of an evaluation: (classes, classes), the rows by label, the
/// columns by prediction.
pub const CONFUSION: &str = "confusion";

/// The names of the parts that hold the scores of the examples with the labels 0 and 1.
pub const SCORES: [&str; 2] = ["scores/0", "scores/1"];

/// The name of the part that holds the model's outputs for each evaluated example: (examples, classes) scores, or
/// (examples) predictions of a real target.
pub const OUTPUTS: &str = "outputs";

/// The name of the part that holds the weights to which a proximal term pulls.
pub const ANCHOR: &str = "anchor";

/// The name of the part that is added to every gradient.
pub const LINEAR: &str = "linear";

/// The name of the part that holds a client's own values of the local tensors, in layout order.
pub const LOCAL: &str = "local";

/// The name of the part that holds what an encoding did not send of a client's changes so far: one value a weight.
pub const RESIDUAL: &str = "residual";

/// The name of the part that holds the momentum that a client's local optimiser keeps between rounds.
pub const MOMENTUM: &str = "momentum";
