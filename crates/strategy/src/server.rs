//! Server optimisers: how the global weights follow the pseudo-gradient Δ = mean − w (Reddi 2021).
//!
//! Elementwise in f64, stored in f32, so that a state that went through a file has the bits of one that did not.

use std::borrow::Cow;

/// A rule that moves the global weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServerOptimiser {
    /// w ← the mean itself: SGD at rate 1 on Δ. (w + (mean − w) is another number.)
    Mean,
    /// v ← βv + Δ; w ← w + ηv, with Nesterov's look-ahead w ← w + η(Δ + βv) (Hsu 2019).
    Momentum {
        /// η.
        rate: f64,
        /// β.
        beta: f64,
        /// `true` looks ahead.
        nesterov: bool,
    },
    /// m ← β₁m + (1−β₁)Δ; v ← β₂v + (1−β₂)Δ²; w ← w + ηm/(√v + τ); v₀ = τ², no bias correction
    /// (Reddi 2021, Algorithm 2).
    Adam {
        /// η.
        rate: f64,
        /// β₁.
        beta1: f64,
        /// β₂.
        beta2: f64,
        /// τ.
        tau: f64,
    },
}

/// The state of a server optimiser between rounds: a vector of weights a name, empty before the first round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerState {
    /// The first moment, or the velocity.
    pub m: Vec<f32>,
    /// The second moment.
    pub v: Vec<f32>,
    /// The state of a strategy that is a program.
    pub program: Vec<u8>,
}

impl ServerState {
    /// Returns the vectors by name; an empty one is a vector that the rule does not have.
    pub fn vectors(&self) -> [(&'static str, &[u8]); 3] {
        [("m", bytemuck::cast_slice(&self.m)), ("v", bytemuck::cast_slice(&self.v)), ("program", &self.program)]
    }

    /// Returns `true` if the state can be that of a server with so many weights.
    pub fn fits(&self, weight_count: usize) -> bool {
        [&self.m, &self.v].iter().all(|moment| moment.is_empty() || moment.len() == weight_count)
    }
}

impl ServerOptimiser {
    /// Returns the weights and the state after a round, from those before it and the aggregate.
    ///
    /// The state before the round stays as it is: a round that fails later needs it again.
    pub fn step(&self, state: &ServerState, weights: &[f32], mean: &[f32]) -> (Vec<f32>, ServerState) {
        let mut after = ServerState { program: state.program.clone(), ..ServerState::default() };
        let moved = match *self {
            ServerOptimiser::Mean => {
                (after.m, after.v) = (state.m.clone(), state.v.clone());
                mean.to_vec()
            }
            ServerOptimiser::Momentum { rate, beta, nesterov } => {
                let before = moment(&state.m, weights.len(), 0.0);
                (after.m, after.v) = (vec![0.0; weights.len()], state.v.clone());
                let pairs = weights.iter().zip(mean).zip(before.iter().zip(&mut after.m));
                pairs
                    .map(|((&w, &mean), (&before, v))| {
                        let delta = f64::from(mean) - f64::from(w);
                        *v = (beta * f64::from(before) + delta) as f32;
                        let step = if nesterov { delta + beta * f64::from(*v) } else { f64::from(*v) };
                        (f64::from(w) + rate * step) as f32
                    })
                    .collect()
            }
            ServerOptimiser::Adam { rate, beta1, beta2, tau } => {
                let first = moment(&state.m, weights.len(), 0.0);
                let second = moment(&state.v, weights.len(), (tau * tau) as f32);
                (after.m, after.v) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
                let moments = first.iter().zip(&mut after.m).zip(second.iter().zip(&mut after.v));
                let pairs = weights.iter().zip(mean).zip(moments);
                pairs
                    .map(|((&w, &mean), ((&first, m), (&second, v)))| {
                        let delta = f64::from(mean) - f64::from(w);
                        *m = (beta1 * f64::from(first) + (1.0 - beta1) * delta) as f32;
                        *v = (beta2 * f64::from(second) + (1.0 - beta2) * delta * delta) as f32;
                        (f64::from(w) + rate * f64::from(*m) / (f64::from(*v).sqrt() + tau)) as f32
                    })
                    .collect()
            }
        };
        (moved, after)
    }
}

/// Returns the moment of each weight; before the first round, each has the `initial` value.
fn moment(held: &[f32], length: usize, initial: f32) -> Cow<'_, [f32]> {
    if held.len() == length { Cow::Borrowed(held) } else { Cow::Owned(vec![initial; length]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f32], expected: &[f64]) {
        for (g, e) in got.iter().zip(expected) {
            assert!((f64::from(*g) - e).abs() <= 1e-6 * e.abs(), "{got:?} {expected:?}");
        }
    }

    #[test]
    fn a_state_fits_the_weights_that_its_vectors_belong_to() {
        let state = |m: &[f32], v: &[f32]| ServerState { m: m.into(), v: v.into(), program: vec![7] };
        assert!(state(&[1.0], &[]).fits(1) && state(&[], &[]).fits(1) && !state(&[1.0], &[1.0, 2.0]).fits(1));
    }

    #[test]
    fn the_mean_is_kept_to_the_bit() {
        let (w, mean) = ([0.1_f32], [0.3_f32]);
        assert_eq!(ServerOptimiser::Mean.step(&ServerState::default(), &w, &mean).0, mean);
    }

    #[test]
    fn a_step_keeps_what_its_rule_does_not_move() {
        let state = ServerState { m: vec![1.0], v: vec![2.0], program: vec![3] };
        let momentum = ServerOptimiser::Momentum { rate: 1.0, beta: 0.5, nesterov: false };
        assert_eq!(ServerOptimiser::Mean.step(&state, &[0.0], &[1.0]).1, state);
        assert_eq!(momentum.step(&state, &[0.0], &[1.0]).1, ServerState { m: vec![1.5], ..state });
    }

    #[test]
    fn momentum_follows_the_paper_for_two_rounds() {
        let rule = ServerOptimiser::Momentum { rate: 0.5, beta: 0.9, nesterov: false };
        let (w, state) = rule.step(&ServerState::default(), &[1.0], &[3.0]);
        close(&w, &[2.0]);
        // v = 0.9 * 2 + (4 - 2) = 3.8
        close(&rule.step(&state, &w, &[4.0]).0, &[2.0 + 0.5 * 3.8]);
        let nesterov = ServerOptimiser::Momentum { rate: 0.5, beta: 0.9, nesterov: true };
        close(&nesterov.step(&ServerState::default(), &[1.0], &[3.0]).0, &[1.0 + 0.5 * (2.0 + 0.9 * 2.0)]);
    }

    #[test]
    fn adam_follows_the_paper_for_two_rounds() {
        let rule = ServerOptimiser::Adam { rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 };
        let (w, target) = (1.0_f64, 1.5_f64);
        let (m1, v1) = (0.1 * 0.5, 0.99 * 1e-6 + 0.01 * 0.25);
        let w1 = w + 0.1 * m1 / (f64::sqrt(v1) + 1e-3);
        let (got, state) = rule.step(&ServerState::default(), &[w as f32], &[target as f32]);
        close(&got, &[w1]);
        let d2 = target - w1;
        let (m2, v2) = (0.9 * m1 + 0.1 * d2, 0.99 * v1 + 0.01 * d2 * d2);
        close(&rule.step(&state, &got, &[target as f32]).0, &[w1 + 0.1 * m2 / (f64::sqrt(v2) + 1e-3)]);
    }
}
