//! SGD on the pseudo-gradient (Reddi 2021, section 2).

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{ServerOptimiser, ServerRound};
use crate::slots::Slots;

const RATE: Parameter =
    Parameter { key: "rate", default: Some(Value::Number(1.0)), range: Range::Positive, help: "η, the server's rate" };

pub(super) const ROW: TableRow<dyn ServerOptimiser> = TableRow {
    name: "sgd",
    summary: "w ← w + ηΔ; at rate 1 the aggregate itself",
    parameters: &[RATE],
    source: "Reddi 2021, section 2",
    build: |values| Arc::new(ServerSgd { rate: values.number("rate") }),
};

#[derive(Debug)]
pub(super) struct ServerSgd {
    pub(super) rate: f64,
}

impl ServerOptimiser for ServerSgd {
    fn step(&self, _: &mut Slots, round: &ServerRound<'_>) -> Vec<f32> {
        if self.keeps_aggregate() {
            return round.aggregate.to_vec();
        }
        let moved = |(&w, &to): (&f32, &f32)| {
            let (w, to) = (f64::from(w), f64::from(to));
            (w + self.rate * (to - w)) as f32
        };
        round.weights.iter().zip(round.aggregate).map(moved).collect()
    }

    /// At rate 1 the aggregate is taken itself: w + (aggregate − w) is another number.
    fn keeps_aggregate(&self) -> bool {
        self.rate == 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::testing::round;

    #[test]
    fn at_rate_1_the_aggregate_is_kept_to_the_bit() {
        let (w, aggregate) = ([0.1_f32], [0.3_f32]);
        assert_eq!(ServerSgd { rate: 1.0 }.step(&mut Slots::default(), &round(&w, &aggregate)), aggregate);
        assert_eq!(ServerSgd { rate: 0.5 }.step(&mut Slots::default(), &round(&[1.0], &[3.0])), [2.0]);
    }
}
