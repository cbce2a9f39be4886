//! When to stop: the weights and the clients' training loss no longer change. The test loss plays no part, since a run
//! that stops by it has been tuned on its test set.

use serde::{Deserialize, Serialize};

/// Rounds in a row that must be below the tolerance.
pub const PATIENCE: u32 = 3;

/// Watches a run. Converged means: for [`PATIENCE`] rounds in a row, both the relative change of the global weights,
/// ‖w_t − w_{t−1}‖ / ‖w_{t−1}‖, and that of the mean training loss, |L_t − L_{t−1}| / |L_{t−1}|, are below the
/// tolerance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    tolerance: f64,
    last_loss: Option<f64>,
    quiet_rounds: u32,
}

/// What one round changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Of the weights, relative.
    pub weights: f64,
    /// Of the training loss, relative; none in the first round.
    pub loss: Option<f64>,
}

impl Convergence {
    /// Nothing seen yet.
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, last_loss: None, quiet_rounds: 0 }
    }

    /// What `before` has seen, under this tolerance: a resume may be forced to another.
    #[must_use]
    pub(crate) fn going_on_from(self, before: Self) -> Self {
        Self { tolerance: self.tolerance, ..before }
    }

    /// Takes a round: its weights before and after, and the clients' mean training loss.
    pub fn observe(&mut self, before: &[f32], after: &[f32], training_loss: f64) -> Change {
        let change = Change {
            weights: relative_change(before, after),
            loss: self.last_loss.map(|last| (training_loss - last).abs() / last.abs()),
        };
        self.last_loss = Some(training_loss);
        let quiet = change.weights < self.tolerance && change.loss.is_some_and(|loss| loss < self.tolerance);
        self.quiet_rounds = if quiet { self.quiet_rounds + 1 } else { 0 };
        change
    }

    /// Whether the run has converged.
    pub fn reached(&self) -> bool {
        self.quiet_rounds >= PATIENCE
    }
}

fn relative_change(before: &[f32], after: &[f32]) -> f64 {
    let (mut moved, mut norm) = (0.0, 0.0);
    for (&b, &a) in before.iter().zip(after) {
        let (b, a) = (f64::from(b), f64::from(a));
        moved += (a - b) * (a - b);
        norm += b * b;
    }
    match (moved > 0.0, norm > 0.0) {
        (false, _) => 0.0,
        (true, false) => f64::INFINITY,
        (true, true) => (moved / norm).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_be_quiet_three_times_in_a_row() {
        let mut watch = Convergence::new(0.01);
        let w = [3.0_f32, 4.0];
        // Weights at rest, loss still falling by 10 % a round.
        for loss in [1.0, 0.9, 0.81, 0.729] {
            watch.observe(&w, &w, loss);
            assert!(!watch.reached());
        }
        // Loss at rest, weights still moving by 20 %.
        let change = watch.observe(&w, &[3.0, 5.0], 0.729);
        assert_eq!(change, Change { weights: 0.2, loss: Some(0.0) });
        for reached in [false, false, true] {
            watch.observe(&w, &[3.0, 4.01], 0.729);
            assert_eq!(watch.reached(), reached);
        }
    }

    #[test]
    fn leaving_zero_is_no_rest() {
        assert_eq!(relative_change(&[0.0], &[1e-9]), f64::INFINITY);
        assert_eq!(relative_change(&[0.0], &[0.0]), 0.0);
    }
}
