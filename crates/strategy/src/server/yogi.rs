//! Yogi on the pseudo-gradient, the server of FedYogi (Reddi 2021, Algorithm 2): no bias correction, v₀ = τ².
//!
//! v ← v − (1 − β₂)Δ² sign(v − Δ²), where the sign of 0 is 0. `bias-correction=true,v0=0` is as in TensorFlow Federated.

use fedpipe_spec::table::{Parameter, TableRow};

use super::{
    ServerOptimiser,
    adaptive::{Adaptive, BETA1, BETA2, CORRECTION, INITIAL, Names, RATE, TAU},
};

pub(crate) const PARAMETERS: [Parameter; 6] = [RATE, BETA1, BETA2, TAU, INITIAL, CORRECTION];

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "yogi",
    summary: "m ← β₁m + (1−β₁)Δ; v ← v − (1−β₂)Δ² sign(v − Δ²); w ← w + ηm/(√v + τ)",
    parameters: &PARAMETERS,
    source: "Reddi 2021, Algorithm 2",
    build: |values| Adaptive::of(values, NAMES, second),
};

const NAMES: Names = &["yogi-m", "yogi-v", "yogi-step"];

fn second(beta2: f64, v: f64, delta: f64) -> f64 {
    let squared = delta * delta;
    // `signum` of 0 is 1.
    let sign = f64::from(i8::from(v > squared) - i8::from(v < squared));
    v - (1.0 - beta2) * squared * sign
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_moment_moves_towards_the_square_and_rests_at_it() {
        assert_eq!(second(0.75, 4.0, 2.0), 4.0);
        assert_eq!(second(0.75, 1.0, 2.0), 2.0);
        assert_eq!(second(0.75, 9.0, 2.0), 8.0);
        assert_eq!(second(0.99, 0.0, 0.0), 0.0);
    }
}
