//! Deals iid rows in sizes that grow with the number i of the client, from 1: as i, i² or eⁱ (Flower).

use std::sync::Arc;

use fedpipe_random::order::order;
use fedpipe_spec::table::TableRow;

use super::{
    Labelled, Partitioner,
    cut::{cut, sizes_of_weights},
    key,
};
use crate::error::DataError;

pub(super) const LINEAR: TableRow<dyn Partitioner> = TableRow {
    name: "linear",
    summary: "shuffles the examples; the sizes of partitions grow as 1, 2, 3, …",
    parameters: &[],
    source: "Flower, `LinearPartitioner`",
    build: |_| Arc::new(Growing { name: "linear", weight: |i, _| i }),
};

pub(super) const SQUARE: TableRow<dyn Partitioner> = TableRow {
    name: "square",
    summary: "shuffles the examples; the sizes of partitions grow as 1, 4, 9, …",
    parameters: &[],
    source: "Flower, `SquarePartitioner`",
    build: |_| Arc::new(Growing { name: "square", weight: |i, _| i * i }),
};

pub(super) const EXPONENTIAL: TableRow<dyn Partitioner> = TableRow {
    name: "exponential",
    summary: "shuffles the examples; the sizes of partitions grow as e, e², e³, …",
    parameters: &[],
    source: "Flower, `ExponentialPartitioner`",
    // Relative to the last, so that no weight is infinite.
    build: |_| Arc::new(Growing { name: "exponential", weight: |i, last| libm::exp(i - last) }),
};

#[derive(Debug)]
struct Growing {
    name: &'static str,
    /// Returns the weight of client i, from 1, of as many clients.
    weight: fn(f64, f64) -> f64,
}

impl Growing {
    fn sizes(&self, examples: u32, clients: u32) -> Vec<usize> {
        let last = f64::from(clients);
        let weights: Vec<f64> = (1..=clients).map(|i| (self.weight)(f64::from(i), last)).collect();
        sizes_of_weights(&weights, examples as usize)
    }

    /// Returns the largest number of clients of which the first, the smallest, has an example.
    fn most_clients(&self, examples: u32, clients: u32) -> u32 {
        // `most` clients fit, `above` do not.
        let (mut most, mut above) = (1, clients);
        while above - most > 1 {
            let middle = most + (above - most) / 2;
            let fits = self.sizes(examples, middle)[0] > 0;
            *(if fits { &mut most } else { &mut above }) = middle;
        }
        most
    }
}

impl Partitioner for Growing {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let examples = labelled.examples();
        let sizes = self.sizes(examples, clients);
        if sizes[0] == 0 {
            let most = self.most_clients(examples, clients);
            return Err(DataError::FirstClientEmpty { scheme: self.name, clients, examples, most });
        }
        Ok(cut(&order(&key(seed, 0), examples), &sizes))
    }
}
