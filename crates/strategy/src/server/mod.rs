//! Server optimisers: how the global weights follow the pseudo-gradient Δ = aggregate − w (Reddi 2021).
//!
//! Elementwise in f64, stored in f32, so that a state that went through a file has the bits of one that did not.

pub(crate) mod adagrad;
pub(crate) mod adam;
mod adaptive;
pub(crate) mod extrapolation;
pub(crate) mod momentum;
mod sgd;
pub(crate) mod yogi;

use std::{borrow::Cow, fmt};

use fedpipe_spec::table::{TableRow, Tabled};

use crate::slots::Slots;

/// The slot of the mean of the last two weights, which is the result of a run.
pub(crate) const OUTPUT: &str = "output";

/// The numbers of a round from which a rule moves the weights.
#[derive(Debug, Clone, Copy)]
pub struct ServerRound<'a> {
    /// The weights before the round.
    pub weights: &'a [f32],
    /// The aggregate, a weight vector.
    pub aggregate: &'a [f32],
    /// The lengths of the changes, if the rule needs them.
    pub changes: Option<Changes>,
}

/// The squared lengths of the changes Δ_k of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Changes {
    /// Σ‖Δ_k‖² / |S|.
    pub mean_of_squares: f64,
    /// ‖Δ̄‖², of the change that the aggregate makes.
    pub square_of_mean: f64,
}

/// A rule that moves the global weights.
pub trait ServerOptimiser: fmt::Debug + Send + Sync {
    /// Returns the weights after a round, and sets the slots of this rule.
    fn step(&self, slots: &mut Slots, round: &ServerRound<'_>) -> Vec<f32>;

    /// Returns `true` if the rule needs the lengths of the changes. They are those of the equal mean.
    fn needs_changes(&self) -> bool {
        false
    }

    /// Returns `true` if the result of a run is the mean of its last two weights, which the slot `output` has.
    fn reports_mean(&self) -> bool {
        false
    }

    /// Returns the names of the slots that this rule sets. No other row has a slot of such a name.
    fn slots(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns `true` if the new weights are the aggregate.
    fn keeps_aggregate(&self) -> bool {
        false
    }
}

static ROWS: [TableRow<dyn ServerOptimiser>; 6] =
    [sgd::ROW, momentum::ROW, adagrad::ROW, adam::ROW, yogi::ROW, extrapolation::ROW];

impl Tabled for dyn ServerOptimiser {
    const WHAT: &'static str = "server optimiser";
    const LIST: &'static str = "servers";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Returns the moment in the slot `name`, one value a weight; before the first round each has the `initial` value.
fn moment<'s>(slots: &'s Slots, name: &str, length: usize, initial: f32) -> Cow<'s, [f32]> {
    match slots.vector(name) {
        Some(held) => Cow::Borrowed(held),
        None => Cow::Owned(vec![initial; length]),
    }
}

#[cfg(test)]
mod testing {
    use super::ServerRound;

    /// Returns a round with these weights and this aggregate.
    pub(super) fn round<'a>(weights: &'a [f32], aggregate: &'a [f32]) -> ServerRound<'a> {
        ServerRound { weights, aggregate, changes: None }
    }

    pub(super) fn close(got: &[f32], expected: &[f64]) {
        for (g, e) in got.iter().zip(expected) {
            assert!((f64::from(*g) - e).abs() <= 1e-6 * e.abs(), "{got:?} {expected:?}");
        }
    }
}
