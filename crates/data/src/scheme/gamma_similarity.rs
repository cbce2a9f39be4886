//! Deals a part of the rows iid, and the rest sorted by label (ByzFL).

use std::sync::Arc;

use fedpipe_random::order::order;
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{
    Labelled, Partitioner,
    cut::{even_sizes, share_out, sorted},
    key,
};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "gamma-similarity",
    summary: "deals the share gamma of the examples iid, and the rest sorted by label",
    parameters: &[Parameter {
        key: "gamma",
        default: None,
        range: Range::ZeroToOne,
        help: "the share that is dealt iid; 1 is iid, 0 sorts all",
    }],
    source: "Allouah 2023; ByzFL, `gamma_similarity_niid`",
    build: |values| Arc::new(GammaSimilarity { gamma: values.number("gamma") }),
};

#[derive(Debug)]
struct GammaSimilarity {
    gamma: f64,
}

impl Partitioner for GammaSimilarity {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let examples = labelled.examples();
        let labels = labelled.labels(ROW.name)?;
        let mut rows = order(&key(seed, 0), examples);
        let (iid, rest) = rows.split_at_mut((self.gamma * f64::from(examples)) as usize);
        rest.sort_unstable_by_key(|row| (labels[*row as usize], *row));
        let mut parts = vec![Vec::new(); clients as usize];
        for rows in [&*iid, rest] {
            share_out(rows, &even_sizes(rows.len(), parts.len()), parts.iter_mut());
        }
        Ok(sorted(parts))
    }
}
