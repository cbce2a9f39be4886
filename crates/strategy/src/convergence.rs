//! The end of a run: the clients' training loss no longer falls. The test loss plays no part, since a run that stops by
//! it has been tuned on its test set.

/// Rounds in a row in which the loss must be at rest.
pub const PATIENCE: u32 = 3;

/// The fewest rounds whose losses are averaged.
const LEAST_WINDOW: usize = 5;

/// The convergence of a run. L_t is the mean loss, over training rows of the participants, of the weights that round t
/// began with. W is max(5, ⌈t/4⌉), A the mean of the last W losses, B that of the W before. A round is at rest if
/// t ≥ 2W, A ≤ L_1 and B − A ≤ tolerance · (L_1 − A). A run has converged after [`PATIENCE`] such rounds in a row.
///
/// The fall is compared with the whole fall so far, so that slow training is not taken for its end. The windows grow
/// with the run, so that the noise of sampled clients does not hide the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Convergence {
    tolerance: f64,
    losses: Vec<f64>,
    quiet_rounds: u32,
}

impl Convergence {
    /// Returns the state before the first round.
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, losses: Vec::new(), quiet_rounds: 0 }
    }

    /// Takes the loss of the weights that a round began with.
    pub fn observe(&mut self, start_loss: f64) {
        self.losses.push(start_loss);
        self.quiet_rounds = if self.is_at_rest() { self.quiet_rounds + 1 } else { 0 };
    }

    /// Returns `true` if the run has converged.
    pub fn reached(&self) -> bool {
        self.quiet_rounds >= PATIENCE
    }

    fn is_at_rest(&self) -> bool {
        let rounds = self.losses.len();
        let window = rounds.div_ceil(4).max(LEAST_WINDOW);
        if rounds < 2 * window {
            return false;
        }
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (before, last) = self.losses[rounds - 2 * window..].split_at(window);
        let (before, last, first) = (mean(before), mean(last), self.losses[0]);
        last <= first && before - last <= self.tolerance * (first - last)
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

    /// Returns the round after which a run with these losses has converged; `None` if it has not.
    fn stop(tolerance: f64, losses: impl IntoIterator<Item = f64>) -> Option<usize> {
        let mut watch = Convergence::new(tolerance);
        let reached = |loss| {
            watch.observe(loss);
            watch.reached()
        };
        losses.into_iter().map(reached).position(|reached| reached).map(|round| round + 1)
    }

    /// Returns a loss that falls from 2 to 0.4 by the factor `rate` a round.
    fn falling(rate: f64) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(1.6), move |left| Some(left * rate)).map(|left| 0.4 + left).take(800)
    }

    #[test]
    fn a_run_stops_where_its_loss_rests_and_a_slow_one_later() {
        let stops = [0.5, 0.8, 0.95, 0.99].map(|rate| stop(0.02, falling(rate)).unwrap());
        assert!(stops.is_sorted() && stops[0] == 17, "{stops:?}");
        let left = |(rate, round): (f64, usize)| (falling(rate).nth(round - 1).unwrap() - 0.4) / 1.6;
        for pair in [0.5, 0.8, 0.95, 0.99].into_iter().zip(stops) {
            assert!(left(pair) < 0.05, "{pair:?} stops with {} of the fall left", left(pair));
        }
    }

    /// The old rule took a loss that fell by 1 % a round for one at rest.
    #[test]
    fn a_loss_that_falls_slowly_and_steadily_is_not_at_rest() {
        assert_eq!(stop(0.02, (0..200).map(|round| 2.3 - 0.001 * f64::from(round))), None);
        assert_eq!(stop(0.02, (0..200).map(|round| 0.5 + 0.01 * f64::from(round))), None, "a loss that rises");
    }

    #[test]
    fn noise_delays_the_end_and_does_not_hide_it() {
        let noisy = |rate| falling(rate).enumerate().map(|(t, loss)| loss + if t % 2 == 0 { 0.05 } else { -0.05 });
        assert!(stop(0.02, noisy(0.8)).is_some());
    }

    #[test]
    fn a_loss_that_reaches_zero_or_never_moves_is_at_rest() {
        assert_eq!(stop(0.02, [2.0].into_iter().chain([0.0; 30])), Some(13));
        assert_eq!(stop(0.02, [2.0; 30]), Some(12));
    }

    #[test]
    fn the_change_of_weights_is_relative_and_leaving_zero_has_none() {
        assert_eq!(relative_change(&[0.0], &[1e-9]), None);
        assert_eq!(relative_change(&[0.0], &[0.0]), Some(0.0));
        assert_eq!(relative_change(&[3.0, 4.0], &[3.0, 5.0]), Some(0.2));
    }
}
