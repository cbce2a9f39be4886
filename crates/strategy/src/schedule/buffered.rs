//! A buffer of updates, FedBuff (Nguyen 2022, Algorithm 1).
//!
//! w ← w + η (1/M) Σ s(τ_k) (w_k − w_received): the change of a client is against the weights that it received, and M
//! divides the sum, not the sum of the factors. The equal mean of the placed weights and the server optimiser make the
//! rest, so that each aggregator and each server optimiser has a buffered form.

use std::sync::Arc;

use fedpipe_protocol::Kind;
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    Arrival, Schedule,
    staleness::{A, B, FUNCTION, Staleness},
};

pub(crate) const PARAMETERS: [Parameter; 4] = [
    Parameter {
        key: "size",
        default: Some(Value::Number(10.0)),
        range: Range::Count,
        help: "M, the updates of a buffer",
    },
    FUNCTION,
    A,
    B,
];

pub(super) const ROW: TableRow<dyn Schedule> = TableRow {
    name: "buffered",
    summary: "the weights change after M updates of any version, each scaled by its staleness; a client that ends is \
              replaced at once",
    parameters: &PARAMETERS,
    source: "Nguyen 2022, Algorithm 1",
    build: |values| Arc::new(Buffered { size: values.count("size"), staleness: Staleness::of(values) }),
};

#[derive(Debug)]
struct Buffered {
    size: u32,
    staleness: Staleness,
}

impl Schedule for Buffered {
    fn buffer_size(&self) -> Option<u32> {
        Some(self.size)
    }

    /// Weights of the current version keep their bits. A buffer moves a share of the way to the client's value, since a
    /// change may take a variance below 0.
    fn place(&self, arrival: &Arrival<'_>, weights: &mut [f32]) {
        let Arrival { current, received, staleness, layout } = *arrival;
        if staleness == 0 {
            return;
        }
        let scale = self.staleness.weight(staleness);
        for (tensor, range) in layout.ranges() {
            let is_buffer = tensor.kind == Kind::Buffer;
            let from = if is_buffer { current } else { received };
            let all = weights[range.clone()].iter_mut().zip(&current[range.clone()]).zip(&from[range]);
            for ((weight, current), from) in all {
                *weight = (f64::from(*current) + scale * (f64::from(*weight) - f64::from(*from))) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::{schedule::testing::placed, term::testing::layout};

    #[test]
    fn a_change_is_against_the_received_weights_and_scaled_by_its_staleness() {
        let (current, received, weights) = ([4.0, -2.0], [1.0, 1.0], [3.0, 0.0]);
        assert_eq!(placed("buffered", &current, &received, 3, &weights), [5.0, -2.5]);
        assert_eq!(placed("buffered:staleness=constant", &current, &received, 3, &weights), [6.0, -3.0]);
        assert_eq!(placed("buffered:staleness=hinge,a=1,b=1", &current, &received, 4, &weights), [4.5, -2.25]);
        // 0.1 + (0.3 − 0.1) is another number than 0.3.
        assert_eq!(placed("buffered", &[0.1], &[0.1], 0, &[0.3]), [0.3]);
    }

    /// The tensors are a parameter, a buffer and a local tensor.
    #[test]
    fn a_variance_stays_above_zero() {
        let schedule: Named<dyn Schedule> = "buffered:staleness=polynomial,a=1".parse().unwrap();
        let (current, received, layout) = ([1.0, 1.0, 2.0], [10.0, 10.0, 2.0], layout());
        let mut weights = [5.0, 5.0, 2.0];
        schedule
            .place(&Arrival { current: &current, received: &received, staleness: 1, layout: &layout }, &mut weights);
        assert_eq!(weights, [-1.5, 3.0, 2.0]);
    }
}
