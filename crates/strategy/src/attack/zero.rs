//! The zero update: the received weights in the place of the client's own.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Attack, Attacked, FRACTION, shared};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "zero",
    summary: "no change in the place of the client's own",
    parameters: &[FRACTION],
    source: "Blanchard 2017, section 2",
    build: |values| Arc::new(Zero { fraction: values.number("fraction") }),
};

#[derive(Debug)]
struct Zero {
    fraction: f64,
}

impl Attack for Zero {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn weights(&self, round: &Attacked<'_>, _: &dyn Math) -> Vec<Vec<f32>> {
        shared(round, Some(round.received.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::testing::attacked;

    #[test]
    fn the_received_weights_are_sent_back() {
        assert_eq!(attacked("zero:0.3", &[]), [[1.0, 2.0]; 2]);
    }
}
