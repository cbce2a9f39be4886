//! The weight of an update in a mean.

use std::{fmt, sync::Arc};

use fedpipe_protocol::Update;
use fedpipe_spec::table::{TableRow, Tabled};

/// A rule that gives an update its weight.
pub trait Weighting: fmt::Debug + Send + Sync {
    /// Returns the weight of an update, above 0.
    fn weight(&self, update: &Update) -> f64;

    /// Returns `true` if all updates have the same weight.
    fn is_equal(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct ByNumber(fn(&Update) -> u64);

impl Weighting for ByNumber {
    fn weight(&self, update: &Update) -> f64 {
        (self.0)(update) as f64
    }
}

#[derive(Debug)]
struct Equal;

impl Weighting for Equal {
    fn weight(&self, _: &Update) -> f64 {
        1.0
    }

    fn is_equal(&self) -> bool {
        true
    }
}

static ROWS: [TableRow<dyn Weighting>; 3] = [
    TableRow {
        name: "examples",
        summary: "a client counts by the examples of its partition",
        parameters: &[],
        source: "McMahan 2017, Algorithm 1",
        build: |_| Arc::new(ByNumber(|update| update.examples)),
    },
    TableRow {
        name: "steps",
        summary: "a client counts by its local steps",
        parameters: &[],
        source: "NVFlare, FedAvg's default",
        build: |_| Arc::new(ByNumber(|update| update.steps)),
    },
    TableRow {
        name: "equal",
        summary: "all clients count the same",
        parameters: &[],
        source: "Karimireddy 2020; Acar 2021",
        build: |_| Arc::new(Equal),
    },
];

impl Tabled for dyn Weighting {
    const WHAT: &'static str = "weighting";
    const LIST: &'static str = "weightings";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}
