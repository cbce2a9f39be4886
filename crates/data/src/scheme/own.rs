//! Deals nothing: the clients have their own partitions, on other machines.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Labelled, Partitioner};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "own",
    summary: "clients on other machines (--over) have their own data",
    parameters: &[],
    source: "the data of the clients",
    build: |_| Arc::new(Own),
};

#[derive(Debug)]
struct Own;

impl Partitioner for Own {
    /// Each machine deals all its examples to one client, in their order.
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, _: u64) -> Result<Vec<Vec<u32>>, DataError> {
        if clients == 1 {
            Ok(vec![(0..labelled.examples()).collect()])
        } else {
            Err(DataError::OwnPartitions { clients })
        }
    }

    fn is_own(&self) -> bool {
        true
    }
}
