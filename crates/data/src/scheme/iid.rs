//! Shuffles the rows and cuts them into parts whose sizes differ by at most 1.

use std::sync::Arc;

use fedpipe_random::order::order;
use fedpipe_spec::table::TableRow;

use super::{
    Labelled, Partitioner,
    cut::{cut, even_sizes},
    key,
};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "iid",
    summary: "shuffles the examples; the sizes of partitions differ by at most 1",
    parameters: &[],
    source: "McMahan 2017, section 3",
    build: |_| Arc::new(Iid),
};

#[derive(Debug)]
pub(super) struct Iid;

impl Partitioner for Iid {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let examples = labelled.examples();
        Ok(cut(&order(&key(seed, 0), examples), &even_sizes(examples as usize, clients as usize)))
    }
}
