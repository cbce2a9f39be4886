//! The weight of an update in a mean.

use std::{fmt, sync::Arc};

use fedpipe_protocol::Update;
use fedpipe_spec::table::{TableRow, Tabled};

/// A rule that gives an update its weight.
pub trait Weighting: fmt::Debug + Send + Sync {
    /// Returns the weight of an update, above 0.
    fn weight(&self, update: &Update) -> f64;
}

#[derive(Debug)]
struct WeightRule(fn(&Update) -> f64);

impl Weighting for WeightRule {
    fn weight(&self, update: &Update) -> f64 {
        (self.0)(update)
    }
}

static ROWS: [TableRow<dyn Weighting>; 3] = [
    TableRow {
        name: "examples",
        summary: "a client counts by the examples of its partition",
        parameters: &[],
        source: "McMahan 2017, Algorithm 1",
        build: |_| Arc::new(WeightRule(|update| update.examples as f64)),
    },
    TableRow {
        name: "steps",
        summary: "a client counts by its local steps",
        parameters: &[],
        source: "NVFlare, FedAvg's default",
        build: |_| Arc::new(WeightRule(|update| update.steps as f64)),
    },
    TableRow {
        name: "equal",
        summary: "all clients count the same",
        parameters: &[],
        source: "Karimireddy 2020; Acar 2021",
        build: |_| Arc::new(WeightRule(|_| 1.0)),
    },
];

impl Tabled for dyn Weighting {
    const WHAT: &'static str = "weighting";
    const LIST: &'static str = "weightings";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}
