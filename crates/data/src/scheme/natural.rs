//! Gives each row to the client that it comes from, such as the writer of an image.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Labelled, Partitioner};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "natural",
    summary: "gives each example to the client that it comes from, by the column of clients of the dataset",
    parameters: &[],
    source: "LEAF, Caldas 2018; Flower, `NaturalIdPartitioner`",
    build: |_| Arc::new(Natural),
};

#[derive(Debug)]
pub(super) struct Natural;

impl Partitioner for Natural {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, _: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let of_row = labelled.natural.ok_or(DataError::NoNaturalClients)?;
        let decided = of_row.iter().max().map_or(0, |last| last + 1);
        if decided != clients {
            return Err(DataError::OtherClients { what: "the dataset".to_owned(), decided, clients });
        }
        let mut parts = vec![Vec::new(); clients as usize];
        (0..).zip(of_row).for_each(|(row, client): (u32, _)| parts[*client as usize].push(row));
        Ok(parts)
    }

    fn is_natural(&self) -> bool {
        true
    }

    fn keeps_names(&self) -> bool {
        true
    }
}
