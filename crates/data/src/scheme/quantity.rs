//! Deals iid rows in sizes from a Dirichlet distribution (NIID-Bench, quantity skew).

use std::sync::Arc;

use fedpipe_random::{gamma::shares, order::shuffle};
use fedpipe_spec::table::TableRow;

use super::{
    Labelled, Partitioner, TRIES,
    cut::{cut, sizes_of_shares},
    dirichlet::{ALPHA, MIN_SIZE, refuse_min_size},
    key,
};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "quantity",
    summary: "shuffles the examples; the sizes of partitions are Dirichlet shares",
    parameters: &[ALPHA, MIN_SIZE],
    source: "NIID-Bench, Li 2022, `iid-diff-quantity`",
    build: |values| Arc::new(Quantity { alpha: values.number("alpha"), min_size: values.count("min-size") }),
};

#[derive(Debug)]
struct Quantity {
    alpha: f64,
    min_size: u32,
}

impl Partitioner for Quantity {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let Self { alpha, min_size } = *self;
        let examples = labelled.examples();
        refuse_min_size(min_size, clients, examples)?;
        for attempt in 0..TRIES {
            let mut rng = key(seed, attempt).rng();
            let shares = shares(alpha, &vec![true; clients as usize], &mut rng);
            let sizes = sizes_of_shares(&shares, examples as usize, shares.len() - 1);
            if sizes.iter().all(|size| *size >= min_size as usize) {
                let mut rows: Vec<u32> = (0..examples).collect();
                shuffle(&mut rows, &mut rng);
                return Ok(cut(&rows, &sizes));
            }
        }
        let remedy = "raise `alpha`, or lower `min-size` or the number of clients";
        Err(DataError::DirichletGaveUp { alpha, min_size, clients, tries: TRIES, remedy })
    }
}
