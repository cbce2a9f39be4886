//! The end of a run: the weights and the clients' training loss no longer change. The test loss plays no part, since a
//! run that stops by it has been tuned on its test set.

/// Rounds in a row that must be below the tolerance.
pub const PATIENCE: u32 = 3;

/// The convergence of a run. A run has converged when for [`PATIENCE`] rounds in a row both the relative change of the
/// global weights, ‖w_t − w_{t−1}‖ / ‖w_{t−1}‖, and that of the mean training loss, |L_t − L_{t−1}| / |L_{t−1}|, are
/// below the tolerance.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    tolerance: f64,
    last_loss: Option<f64>,
    quiet_rounds: u32,
}

impl Convergence {
    /// Returns the state before the first round.
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, last_loss: None, quiet_rounds: 0 }
    }

    /// Takes a round: the relative change of its weights, as [`relative_change`] returns it, and the clients' mean
    /// training loss.
    pub fn observe(&mut self, weights_change: Option<f64>, training_loss: f64) {
        let loss_change = self.last_loss.map(|last| (training_loss - last).abs() / last.abs());
        self.last_loss = Some(training_loss);
        let is_quiet = |change: Option<f64>| change.is_some_and(|change| change < self.tolerance);
        self.quiet_rounds = if is_quiet(weights_change) && is_quiet(loss_change) { self.quiet_rounds + 1 } else { 0 };
    }

    /// Returns `true` if the run has converged.
    pub fn reached(&self) -> bool {
        self.quiet_rounds >= PATIENCE
    }
}

/// Returns ‖after − before‖ / ‖before‖; `None` if weights that were all zero have moved.
pub fn relative_change(before: &[f32], after: &[f32]) -> Option<f64> {
    let (mut moved, mut norm) = (0.0, 0.0);
    for (&b, &a) in before.iter().zip(after) {
        let (b, a) = (f64::from(b), f64::from(a));
        moved += (a - b) * (a - b);
        norm += b * b;
    }
    match (moved > 0.0, norm > 0.0) {
        (false, _) => Some(0.0),
        (true, false) => None,
        (true, true) => Some((moved / norm).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_must_be_quiet_three_times_in_a_row() {
        let mut watch = Convergence::new(0.01);
        // Weights at rest, loss still falling by 10 % a round.
        for loss in [1.0, 0.9, 0.81, 0.729] {
            watch.observe(Some(0.0), loss);
            assert!(!watch.reached());
        }
        // Loss at rest, weights still moving by 20 %.
        watch.observe(Some(0.2), 0.729);
        watch.observe(None, 0.729);
        for reached in [false, false, true] {
            watch.observe(Some(0.002), 0.729);
            assert_eq!(watch.reached(), reached);
        }
    }

    #[test]
    fn leaving_zero_is_no_rest() {
        assert_eq!(relative_change(&[0.0], &[1e-9]), None);
        assert_eq!(relative_change(&[0.0], &[0.0]), Some(0.0));
        assert_eq!(relative_change(&[3.0, 4.0], &[3.0, 5.0]), Some(0.2));
    }
}
