//! Momentum on the pseudo-gradient, the server of FedAvgM (Hsu 2019, section 4.1).

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{ServerOptimiser, ServerRound, moment, sgd::ServerSgd};
use crate::slots::Slots;

pub(crate) const PARAMETERS: [Parameter; 3] = [
    Parameter { key: "rate", default: Some(Value::Number(1.0)), range: Range::Positive, help: "η, the server's rate" },
    Parameter { key: "beta", default: Some(Value::Number(0.9)), range: Range::Decay, help: "β, the momentum" },
    Parameter {
        key: "nesterov",
        default: Some(Value::Flag(false)),
        range: Range::Flag,
        help: "true looks ahead: w ← w + η(Δ + βv)",
    },
];

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "momentum",
    summary: "v ← βv + Δ; w ← w + ηv",
    parameters: &PARAMETERS,
    source: "Hsu 2019, section 4.1",
    build: |values| {
        let (rate, beta) = (values.number("rate"), values.number("beta"));
        Arc::new(ServerMomentum { plain: ServerSgd { rate }, beta, nesterov: values.flag("nesterov") })
    },
};

const VELOCITY: &str = "velocity";

#[derive(Debug)]
struct ServerMomentum {
    /// The rule without momentum.
    plain: ServerSgd,
    beta: f64,
    nesterov: bool,
}

impl ServerOptimiser for ServerMomentum {
    /// β = 0 is a branch, so that it has the bits of plain SGD.
    fn step(&self, slots: &mut Slots, round: &ServerRound<'_>) -> Vec<f32> {
        let Self { plain: ServerSgd { rate }, beta, nesterov } = *self;
        if beta == 0.0 {
            return self.plain.step(slots, round);
        }
        let ServerRound { weights, aggregate, .. } = *round;
        let before = moment(slots, VELOCITY, weights.len(), 0.0);
        let mut after = vec![0.0; weights.len()];
        let pairs = weights.iter().zip(aggregate).zip(before.iter().zip(&mut after));
        let moved = pairs.map(|((&w, &to), (&before, v))| {
            let delta = f64::from(to) - f64::from(w);
            *v = (beta * f64::from(before) + delta) as f32;
            let step = if nesterov { delta + beta * f64::from(*v) } else { f64::from(*v) };
            (f64::from(w) + rate * step) as f32
        });
        let moved = moved.collect();
        slots.set_vector(VELOCITY, after);
        moved
    }

    fn slots(&self) -> &'static [&'static str] {
        &[VELOCITY]
    }

    fn keeps_aggregate(&self) -> bool {
        self.beta == 0.0 && self.plain.keeps_aggregate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::{close, round};

    fn rule(rate: f64, beta: f64, nesterov: bool) -> ServerMomentum {
        ServerMomentum { plain: ServerSgd { rate }, beta, nesterov }
    }

    #[test]
    fn it_follows_the_paper_for_two_rounds() {
        let mut slots = Slots::default();
        let w = rule(0.5, 0.9, false).step(&mut slots, &round(&[1.0], &[3.0]));
        close(&w, &[2.0]);
        // v = 0.9 * 2 + (4 - 2) = 3.8
        close(&rule(0.5, 0.9, false).step(&mut slots, &round(&w, &[4.0])), &[2.0 + 0.5 * 3.8]);
        let ahead = rule(0.5, 0.9, true).step(&mut Slots::default(), &round(&[1.0], &[3.0]));
        close(&ahead, &[1.0 + 0.5 * (2.0 + 0.9 * 2.0)]);
    }

    /// v_t = Δ (1 − βᵗ) / (1 − β) for a constant Δ.
    #[test]
    fn a_constant_change_gives_the_geometric_sum() {
        let (rule, mut slots, mut w) = (rule(1e-3, 0.9, false), Slots::default(), vec![0.0]);
        let mut power = 1.0;
        for number in 1..=20 {
            power *= 0.9;
            let aggregate = [w[0] + 1.0];
            w = rule.step(&mut slots, &round(&w, &aggregate));
            let expected = (1.0 - power) / 0.1;
            assert!((f64::from(slots.vector(VELOCITY).unwrap()[0]) - expected).abs() < 1e-5, "round {number}");
        }
    }

    #[test]
    fn without_momentum_it_has_the_bits_of_sgd_and_no_state() {
        let mut slots = Slots::default();
        assert_eq!(rule(1.0, 0.0, true).step(&mut slots, &round(&[0.1], &[0.3])), [0.3]);
        assert!(
            slots.is_empty() && rule(1.0, 0.0, false).keeps_aggregate() && !rule(0.5, 0.0, false).keeps_aggregate()
        );
    }
}
