//! Shuffles the rows and cuts them into parts whose sizes differ by at most 1.

use std::sync::Arc;

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};
use fedpipe_spec::table::TableRow;

use super::{Labelled, Partitioner, start_of};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "iid",
    summary: "shuffles the examples; the sizes of partitions differ by at most 1",
    parameters: &[],
    source: "McMahan 2017, section 3",
    build: |_| Arc::new(Iid),
};

#[derive(Debug)]
struct Iid;

impl Partitioner for Iid {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let examples = labelled.examples();
        let key = Key { seed, purpose: Use::Partition, client: 0, round: 0, epoch: 0 };
        let rows = order(&key, examples);
        let part = |k| {
            let mut part = rows[start_of(k, examples, clients)..start_of(k + 1, examples, clients)].to_vec();
            part.sort_unstable();
            part
        };
        Ok((0..clients).map(part).collect())
    }
}
