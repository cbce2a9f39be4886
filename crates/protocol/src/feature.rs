//! The optional abilities of a client, by name. A client lists them in `ready`; a strategy that needs another one is
//! refused before the first round.

use crate::train_message::{Phase, PhaseStart};

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

/// The client reports the accumulation ‖a‖₁ of the local optimiser `sgd`.
pub const ACCUMULATION: &str = "accumulation";

/// The client evaluates the held-out examples of its partition.
pub const EVALUATE_PARTITION: &str = "evaluate-partition";

/// The client sends the confusion matrix of an evaluation, and the scores of two classes.
pub const PREDICT: &str = "predict";

/// The client begins with the momentum of an earlier round, and returns that of this one.
pub const KEEPS_MOMENTUM: &str = "keeps-momentum";

/// The client brings a local optimiser of its own.
pub const OWN_OPTIMISER: &str = "own-optimiser";

/// The client takes a mini-batch size for one phase.
pub const PHASE_BATCH: &str = "phase-batch";

/// The client trains on the label C − 1 − y in the place of y.
pub const FLIP_LABELS: &str = "flip-labels";

/// The features of fedpipe's own client, besides the transforms and those of its model.
pub const ALL: [&str; 13] = [
    KEEPS_WEIGHTS,
    PHASES,
    STEP_LIMIT,
    PROXIMAL,
    LINEAR,
    FROZEN,
    SCORE_START,
    LOCAL_TENSORS,
    ACCUMULATION,
    EVALUATE_PARTITION,
    PREDICT,
    FLIP_LABELS,
    PHASE_BATCH,
];

/// Returns the features that a client needs for these phases.
pub fn of_phases(phases: &[Phase]) -> Vec<&'static str> {
    let any = |needs: fn(&Phase) -> bool| phases.iter().any(needs);
    let needed = [
        (phases.len() > 1 || any(|phase| phase.start != PhaseStart::Received || !phase.update), PHASES),
        (any(|phase| phase.steps.is_some()), STEP_LIMIT),
        (any(|phase| phase.batch_size.is_some()), PHASE_BATCH),
        (any(|phase| phase.proximal != 0.0), PROXIMAL),
        (any(|phase| phase.linear), LINEAR),
        (any(|phase| !phase.frozen.is_empty()), FROZEN),
    ];
    needed.into_iter().filter_map(|(is_needed, feature)| is_needed.then_some(feature)).collect()
}

/// Returns a feature that a client needs for these phases and that is not `listed`; `None` if all are.
pub fn unlisted(phases: &[Phase], listed: &[String]) -> Option<&'static str> {
    of_phases(phases).into_iter().find(|needed| listed.iter().all(|listed| listed != needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_need_the_features_of_their_fields() {
        let plain = Phase::plain(1);
        assert_eq!(of_phases(std::slice::from_ref(&plain)), [""; 0]);
        assert_eq!(of_phases(&[plain.clone(), plain.clone()]), [PHASES]);
        let slot = Phase { start: PhaseStart::Slot, ..plain.clone() };
        assert_eq!(of_phases(&[slot]), [PHASES]);
        let all = Phase {
            steps: Some(1),
            batch_size: Some(8),
            proximal: 0.1,
            linear: true,
            frozen: vec!["w".into()],
            ..plain
        };
        let all = [all];
        assert_eq!(of_phases(&all), [STEP_LIMIT, PHASE_BATCH, PROXIMAL, LINEAR, FROZEN]);
        let listed = [FROZEN, PROXIMAL, LINEAR, PHASE_BATCH, STEP_LIMIT].map(str::to_owned);
        assert_eq!((unlisted(&all, &listed), unlisted(&all, &listed[..4])), (None, Some(STEP_LIMIT)));
    }
}
