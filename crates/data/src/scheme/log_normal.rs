//! Deals iid rows in sizes from a log-normal distribution (FedLab).

use std::sync::Arc;

use fedpipe_random::{normal::standard, order::shuffle};
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{
    Labelled, Partitioner,
    cut::{cut, sizes_of_weights},
    key,
};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "log-normal",
    summary: "shuffles the examples; the sizes of partitions are log-normal",
    parameters: &[Parameter {
        key: "sigma",
        default: None,
        range: Range::NotNegative,
        help: "the standard deviation of the logarithm of a size; 0 gives even sizes",
    }],
    source: "FedLab, `lognormal_unbalance_partition`",
    build: |values| Arc::new(LogNormal { sigma: values.number("sigma") }),
};

#[derive(Debug)]
struct LogNormal {
    sigma: f64,
}

impl Partitioner for LogNormal {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let mut rng = key(seed, 0).rng();
        let logs: Vec<f64> = (0..clients).map(|_| self.sigma * standard(&mut rng)).collect();
        // Relative to the largest, so that no weight is infinite.
        let largest = logs.iter().fold(f64::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
        let weights: Vec<f64> = logs.iter().map(|log| libm::exp(log - largest)).collect();
        let mut rows: Vec<u32> = (0..labelled.examples()).collect();
        shuffle(&mut rows, &mut rng);
        Ok(cut(&rows, &sizes_of_weights(&weights, rows.len())))
    }
}
