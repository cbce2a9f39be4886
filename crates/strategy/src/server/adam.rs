//! Adam on the pseudo-gradient, the server of FedAdam (Reddi 2021, Algorithm 2): no bias correction, v₀ = τ².
//!
//! v ← β₂v + (1 − β₂)Δ². `bias-correction=true,v0=0` is the Adam of TensorFlow Federated, with which the paper's own
//! tables were made.

use fedpipe_spec::table::{Parameter, TableRow};

use super::{
    ServerOptimiser,
    adaptive::{Adaptive, BETA1, BETA2, CORRECTION, INITIAL, Names, RATE, TAU},
};

pub(crate) const PARAMETERS: [Parameter; 6] = [RATE, BETA1, BETA2, TAU, INITIAL, CORRECTION];

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "adam",
    summary: "m ← β₁m + (1−β₁)Δ; v ← β₂v + (1−β₂)Δ²; w ← w + ηm/(√v + τ)",
    parameters: &PARAMETERS,
    source: "Reddi 2021, Algorithm 2",
    build: |values| Adaptive::of(values, NAMES, second),
};

const NAMES: Names = &["m", "v", "step"];

fn second(beta2: f64, v: f64, delta: f64) -> f64 {
    beta2 * v + (1.0 - beta2) * delta * delta
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::{
        server::testing::{close, round},
        slots::Slots,
    };

    #[test]
    fn it_follows_the_paper_for_two_rounds() {
        let rule: Named<dyn ServerOptimiser> = "adam:rate=0.1".parse().unwrap();
        let (w, target) = (1.0_f64, 1.5_f64);
        let (m1, v1) = (0.1 * 0.5, 0.99 * 1e-6 + 0.01 * 0.25);
        let w1 = w + 0.1 * m1 / (f64::sqrt(v1) + 1e-3);
        let mut slots = Slots::default();
        let got = rule.step(&mut slots, &round(&[w as f32], &[target as f32]));
        close(&got, &[w1]);
        let d2 = target - w1;
        let (m2, v2) = (0.9 * m1 + 0.1 * d2, 0.99 * v1 + 0.01 * d2 * d2);
        close(&rule.step(&mut slots, &round(&got, &[target as f32])), &[w1 + 0.1 * m2 / (f64::sqrt(v2) + 1e-3)]);
    }

    /// The bias of t steps of a constant Δ is β₁ᵗ and β₂ᵗ, so that each step is that of the first.
    #[test]
    fn a_bias_correction_makes_each_step_of_a_constant_change_the_same() {
        let rule: Named<dyn ServerOptimiser> = "adam:rate=0.1,tau=1e-12,v0=0,bias-correction=true".parse().unwrap();
        let mut slots = Slots::default();
        for _ in 0..30 {
            close(&rule.step(&mut slots, &round(&[0.0], &[0.25])), &[0.1]);
        }
        assert_eq!(slots.bytes("step"), 30_u64.to_le_bytes());
    }
}
