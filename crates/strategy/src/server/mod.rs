//! Server optimisers: how the global weights follow the pseudo-gradient Δ = aggregate − w (Reddi 2021).
//!
//! Elementwise in f64, stored in f32, so that a state that went through a file has the bits of one that did not.

pub(crate) mod adam;
pub(crate) mod momentum;
mod sgd;

use std::{borrow::Cow, fmt};

use fedpipe_spec::table::{TableRow, Tabled};

use crate::slots::Slots;

/// A rule that moves the global weights.
pub trait ServerOptimiser: fmt::Debug + Send + Sync {
    /// Returns the weights after a round, from those before it and the aggregate, and sets the slots of this rule.
    fn step(&self, slots: &mut Slots, weights: &[f32], aggregate: &[f32]) -> Vec<f32>;

    /// Returns the names of the slots that this rule sets. No other row has a slot of such a name.
    fn slots(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns `true` if the new weights are the aggregate.
    fn keeps_aggregate(&self) -> bool {
        false
    }
}

static ROWS: [TableRow<dyn ServerOptimiser>; 3] = [sgd::ROW, momentum::ROW, adam::ROW];

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
    pub(super) fn close(got: &[f32], expected: &[f64]) {
        for (g, e) in got.iter().zip(expected) {
            assert!((f64::from(*g) - e).abs() <= 1e-6 * e.abs(), "{got:?} {expected:?}");
        }
    }
}
