//! Rounds: the global weights change once the clients of a round have returned.

use std::sync::Arc;

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::Schedule;

pub(super) const ROW: TableRow<dyn Schedule> = TableRow {
    name: "synchronous",
    summary: "the weights change after all clients of a round; with over-commitment after the first ones",
    parameters: &[Parameter {
        key: "over-commit",
        default: Some(Value::Number(1.0)),
        range: Range::AtLeastOne,
        help: "the clients that are sampled for each awaited one, rounded down; the slowest of them are not trained",
    }],
    source: "Bonawitz 2019, section 2; Lai 2022 (FedScale) has 1.3",
    build: |values| Arc::new(Synchronous { over_commitment: values.number("over-commit") }),
};

#[derive(Debug)]
struct Synchronous {
    over_commitment: f64,
}

impl Schedule for Synchronous {
    fn over_commitment(&self) -> f64 {
        self.over_commitment
    }
}
