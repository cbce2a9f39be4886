//! Extrapolation of the server's step, the server of FedExP (Jhunjhunwala 2023, Algorithm 1).
//!
//! η = max(1, Σ‖Δ_k‖² / (2n (‖Δ̄‖² + ε))) for n updates, with the equal mean Δ̄. The weights swing around the minimum.
//! Therefore the result is the mean of the last two weights (section 3.3), which each round scores.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{OUTPUT, ServerOptimiser, ServerRound, sgd::ServerSgd};
use crate::slots::Slots;

pub(crate) const PARAMETERS: [Parameter; 1] = [Parameter {
    key: "epsilon",
    default: Some(Value::Number(1e-3)),
    range: Range::Positive,
    help: "ε, added to ‖Δ̄‖²",
}];

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "extrapolation",
    summary: "w ← w + ηΔ̄ with η = max(1, Σ‖Δ_k‖²/(2n(‖Δ̄‖² + ε))); FedExP",
    parameters: &PARAMETERS,
    source: "Jhunjhunwala 2023, Algorithm 1",
    build: |values| Arc::new(Extrapolation { epsilon: values.number("epsilon") }),
};

#[derive(Debug)]
struct Extrapolation {
    epsilon: f64,
}

impl ServerOptimiser for Extrapolation {
    fn step(&self, slots: &mut Slots, round: &ServerRound<'_>) -> Vec<f32> {
        let changes = round.changes.unwrap_or_default();
        let rate = (changes.mean_of_squares / (2.0 * (changes.square_of_mean + self.epsilon))).max(1.0);
        // At rate 1 the aggregate is taken itself, which has the bits of FedAvg.
        ServerSgd { rate }.step(slots, round)
    }

    fn needs_changes(&self) -> bool {
        true
    }

    fn reports_mean(&self) -> bool {
        true
    }

    fn slots(&self) -> &'static [&'static str] {
        &[OUTPUT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{Changes, testing::round};

    fn step(changes: Changes) -> Vec<f32> {
        let round = ServerRound { changes: Some(changes), ..round(&[1.0], &[1.5]) };
        Extrapolation { epsilon: 1e-9 }.step(&mut Slots::default(), &round)
    }

    /// The squares of identical changes have the ratio ½, and those of M orthogonal ones of one length M/2.
    #[test]
    fn identical_changes_give_the_mean_and_orthogonal_ones_a_greater_step() {
        assert_eq!(step(Changes { mean_of_squares: 4.0, square_of_mean: 4.0 }), [1.5]);
        for clients in [1.0, 2.0, 5.0, 10.0] {
            let changes = Changes { mean_of_squares: 4.0, square_of_mean: 4.0 / clients };
            assert_eq!(step(changes), [(1.0 + 0.5 * f64::max(1.0, clients / 2.0)) as f32], "{clients}");
        }
    }
}
