//! A change after each update, FedAsync (Xie 2019, Algorithm 1): w ← (1 − α_s) w + α_s w_k with α_s = α s(t − τ).
//!
//! The client's weights are mixed into the current ones, whatever it received.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    Arrival, Schedule,
    staleness::{A, B, FUNCTION, Staleness},
};

pub(crate) const ALPHA: Parameter = Parameter {
    key: "alpha",
    default: Some(Value::Number(0.6)),
    range: Range::Share,
    help: "α, the share of the client's weights in the new ones",
};

pub(super) const ROW: TableRow<dyn Schedule> = TableRow {
    name: "asynchronous",
    summary: "the weights change after each update, which is mixed in by its staleness; a client that ends is replaced at \
              once",
    parameters: &[ALPHA, FUNCTION, A, B],
    source: "Xie 2019, Algorithm 1",
    build: |values| Arc::new(Asynchronous { alpha: values.number("alpha"), staleness: Staleness::of(values) }),
};

#[derive(Debug)]
struct Asynchronous {
    alpha: f64,
    staleness: Staleness,
}

impl Schedule for Asynchronous {
    fn buffer_size(&self) -> Option<u32> {
        Some(1)
    }

    /// At a share of 1 the client's weights keep their bits.
    fn place(&self, arrival: &Arrival<'_>, weights: &mut [f32]) {
        let share = self.alpha * self.staleness.weight(arrival.staleness);
        if share == 1.0 {
            return;
        }
        for (weight, current) in weights.iter_mut().zip(arrival.current) {
            *weight = ((1.0 - share) * f64::from(*current) + share * f64::from(*weight)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::schedule::testing::placed;

    #[test]
    fn the_weights_of_the_client_are_mixed_into_the_current_ones() {
        let (current, received, weights) = ([4.0, -2.0], [9.0, 9.0], [2.0, 2.0]);
        assert_eq!(placed("asynchronous:alpha=0.5", &current, &received, 0, &weights), [3.0, 0.0]);
        assert_eq!(placed("asynchronous:alpha=0.5", &current, &received, 3, &weights), [3.5, -1.0]);
        assert_eq!(placed("asynchronous:alpha=1,staleness=constant", &current, &received, 7, &weights), weights);
        assert_eq!(placed("asynchronous:alpha=1,staleness=hinge", &current, &received, 4, &weights), weights);
    }
}
