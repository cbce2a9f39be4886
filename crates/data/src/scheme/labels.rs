//! Gives each client `k` labels and splits each label evenly among its holders (NIID-Bench, #C = k).

use std::sync::Arc;

use fedpipe_random::order::shuffle;
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{
    Labelled, Partitioner,
    cut::{even_sizes, share_out, sorted},
    key,
};
use crate::error::DataError;

/// A label without a holder is left out, as in the code of NIID-Bench.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "labels",
    summary: "gives client i the label i and k − 1 random others; splits each label evenly among its holders",
    parameters: &[LABELS],
    source: "NIID-Bench, Li 2022, #C = k",
    build: |values| Arc::new(Labels { k: values.count("k") }),
};

/// The number of labels of a client.
pub(super) const LABELS: Parameter =
    Parameter { key: "k", default: None, range: Range::Count, help: "the number of labels of each client" };

#[derive(Debug)]
struct Labels {
    k: u32,
}

impl Partitioner for Labels {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let by_label = labelled.rows_by_present_class(ROW.name)?;
        let others = others(self.k, by_label.len())?;
        let mut rng = key(seed, 0).rng();
        let mut holders = vec![Vec::new(); by_label.len()];
        for client in 0..clients as usize {
            let first = client % by_label.len();
            let mut rest: Vec<usize> = (0..by_label.len()).filter(|label| *label != first).collect();
            shuffle(&mut rest, &mut rng);
            [first].iter().chain(&rest[..others]).for_each(|label| holders[*label].push(client));
        }
        let mut parts = vec![Vec::new(); clients as usize];
        for (mut rows, holders) in by_label.into_iter().zip(&holders) {
            shuffle(&mut rows, &mut rng);
            let sizes = even_sizes(rows.len(), holders.len());
            let mine = parts.iter_mut().enumerate().filter(|(client, _)| holders.contains(client));
            share_out(&rows, &sizes, mine.map(|(_, part)| part));
        }
        Ok(sorted(parts))
    }
}

/// Returns the number of labels of a client beside its first, of `labels` that have an example.
pub(super) fn others(k: u32, labels: usize) -> Result<usize, DataError> {
    if k as usize > labels {
        return Err(DataError::TooFewLabels { k, labels });
    }
    Ok(k as usize - 1)
}
