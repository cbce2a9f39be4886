//! Adam on the pseudo-gradient, the server of FedAdam (Reddi 2021, Algorithm 2): no bias correction, v₀ = τ².

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{ServerOptimiser, moment};
use crate::slots::Slots;

pub(crate) const PARAMETERS: [Parameter; 4] = [
    Parameter {
        key: "rate", default: Some(Value::Number(0.01)), range: Range::Positive, help: "η, the server's rate"
    },
    Parameter {
        key: "beta1",
        default: Some(Value::Number(0.9)),
        range: Range::Decay,
        help: "β₁, the decay of the first moment",
    },
    Parameter {
        key: "beta2",
        default: Some(Value::Number(0.99)),
        range: Range::Decay,
        help: "β₂, the decay of the second moment",
    },
    Parameter {
        key: "tau",
        default: Some(Value::Number(1e-3)),
        range: Range::Positive,
        help: "τ, the adaptivity, added to √v",
    },
];

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "adam",
    summary: "m ← β₁m + (1−β₁)Δ; v ← β₂v + (1−β₂)Δ²; w ← w + ηm/(√v + τ)",
    parameters: &PARAMETERS,
    source: "Reddi 2021, Algorithm 2",
    build: |values| {
        let [rate, beta1, beta2, tau] = ["rate", "beta1", "beta2", "tau"].map(|key| values.number(key));
        Arc::new(ServerAdam { rate, beta1, beta2, tau })
    },
};

const FIRST: &str = "m";
const SECOND: &str = "v";

#[derive(Debug)]
struct ServerAdam {
    rate: f64,
    beta1: f64,
    beta2: f64,
    tau: f64,
}

impl ServerOptimiser for ServerAdam {
    fn slots(&self) -> &'static [&'static str] {
        &[FIRST, SECOND]
    }

    fn step(&self, slots: &mut Slots, weights: &[f32], aggregate: &[f32]) -> Vec<f32> {
        let Self { rate, beta1, beta2, tau } = *self;
        let first = moment(slots, FIRST, weights.len(), 0.0);
        let second = moment(slots, SECOND, weights.len(), (tau * tau) as f32);
        let (mut m, mut v) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        let moments = first.iter().zip(&mut m).zip(second.iter().zip(&mut v));
        let moved = weights.iter().zip(aggregate).zip(moments).map(|((&w, &to), ((&first, m), (&second, v)))| {
            let delta = f64::from(to) - f64::from(w);
            *m = (beta1 * f64::from(first) + (1.0 - beta1) * delta) as f32;
            *v = (beta2 * f64::from(second) + (1.0 - beta2) * delta * delta) as f32;
            (f64::from(w) + rate * f64::from(*m) / (f64::from(*v).sqrt() + tau)) as f32
        });
        let moved = moved.collect();
        slots.set_vector(FIRST, m);
        slots.set_vector(SECOND, v);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::close;

    #[test]
    fn it_follows_the_paper_for_two_rounds() {
        let rule = ServerAdam { rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 };
        let (w, target) = (1.0_f64, 1.5_f64);
        let (m1, v1) = (0.1 * 0.5, 0.99 * 1e-6 + 0.01 * 0.25);
        let w1 = w + 0.1 * m1 / (f64::sqrt(v1) + 1e-3);
        let mut slots = Slots::default();
        let got = rule.step(&mut slots, &[w as f32], &[target as f32]);
        close(&got, &[w1]);
        let d2 = target - w1;
        let (m2, v2) = (0.9 * m1 + 0.1 * d2, 0.99 * v1 + 0.01 * d2 * d2);
        close(&rule.step(&mut slots, &got, &[target as f32]), &[w1 + 0.1 * m2 / (f64::sqrt(v2) + 1e-3)]);
    }

    /// The first step over η for Δ = 0.01 and τ = 1e-3, computed in NumPy from the paper's formulas.
    #[test]
    fn the_first_step_has_the_papers_value() {
        let rule = ServerAdam { rate: 1.0, beta1: 0.9, beta2: 0.99, tau: 1e-3 };
        close(&rule.step(&mut Slots::default(), &[0.0], &[0.01]), &[0.414_821_816]);
    }
}
