//! Adagrad on the pseudo-gradient, the server of FedAdagrad (Reddi 2021, Algorithm 2): v ← v + Δ², v₀ = τ².

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, TableRow, Value};

use super::{
    ServerOptimiser,
    adaptive::{Adaptive, BETA1, INITIAL, Names, RATE, TAU},
};

pub(crate) const PARAMETERS: [Parameter; 4] = [
    Parameter { default: Some(Value::Number(0.1)), ..RATE },
    Parameter { default: Some(Value::Number(0.0)), ..BETA1 },
    TAU,
    INITIAL,
];

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "adagrad",
    summary: "m ← β₁m + (1−β₁)Δ; v ← v + Δ²; w ← w + ηm/(√v + τ)",
    parameters: &PARAMETERS,
    source: "Reddi 2021, Algorithm 2",
    build: |values| {
        let [rate, beta1, tau] = ["rate", "beta1", "tau"].map(|key| values.number(key));
        let initial = values.number_or_word("v0");
        let second = |_, v, delta| v + delta * delta;
        Arc::new(Adaptive { names: NAMES, second, rate, beta1, beta2: 0.0, tau, initial, corrects_bias: false })
    },
};

const NAMES: Names = &["adagrad-m", "adagrad-v"];

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::{
        server::testing::{close, round},
        slots::Slots,
    };

    /// v after t rounds of Δ is τ² + tΔ², and without a first moment the step is ηΔ/(√v + τ).
    #[test]
    fn the_squares_add_up() {
        let rule: Named<dyn ServerOptimiser> = "adagrad:tau=0.5,rate=1".parse().unwrap();
        let mut slots = Slots::default();
        for t in 1..=5 {
            let step = rule.step(&mut slots, &round(&[0.0], &[2.0]));
            close(&step, &[2.0 / ((0.25 + 4.0 * f64::from(t)).sqrt() + 0.5)]);
        }
    }
}
