//! Gives the labels, one after the other, to the first clients that have fewer than `k` (PFLlib, `pat`).

use std::sync::Arc;

use fedpipe_random::{ChaCha8Rng, order::below};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    Labelled, Partitioner,
    cut::{share_out, sorted},
    key,
    labels::{LABELS, others},
};
use crate::error::DataError;

/// Labels without a client that has room are left out, as in PFLlib.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "pat",
    summary: "gives label after label to the first ⌈N·k/C⌉ clients with fewer than k labels, in the order of the rows",
    parameters: &[
        LABELS,
        Parameter {
            key: "balance",
            default: Some(Value::Flag(false)),
            range: Range::Flag,
            help: "true: splits a label evenly; false: in random sizes from a tenth of the even one, and the rest to the last client",
        },
    ],
    source: "PFLlib, `separate_data`, partition `pat`",
    build: |values| Arc::new(Pat { k: values.count("k"), balance: values.flag("balance") }),
};

#[derive(Debug)]
struct Pat {
    k: u32,
    balance: bool,
}

impl Partitioner for Pat {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let by_label = labelled.rows_by_present_class(ROW.name)?;
        others(self.k, by_label.len())?;
        let holders = (u64::from(clients) * u64::from(self.k)).div_ceil(by_label.len() as u64) as usize;
        let mut rng = key(seed, 0).rng();
        let mut room = vec![self.k; clients as usize];
        let mut parts = vec![Vec::new(); clients as usize];
        for rows in &by_label {
            let mine: Vec<usize> = (0..room.len()).filter(|client| room[*client] > 0).take(holders).collect();
            let sizes = self.sizes(rows.len(), mine.len(), &mut rng);
            mine.iter().for_each(|client| room[*client] -= 1);
            let mine = parts.iter_mut().enumerate().filter(|(client, _)| mine.contains(client));
            share_out(rows, &sizes, mine.map(|(_, part)| part));
        }
        Ok(sorted(parts))
    }
}

impl Pat {
    /// Returns the sizes of the parts of `n` rows. The last part takes the rest.
    fn sizes(&self, n: usize, parts: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let Some(drawn) = parts.checked_sub(1) else { return Vec::new() };
        let most = n / parts;
        let least = (most / 10).max(1).min(most);
        let size = |_| if self.balance { most } else { least + below(rng, (most - least) as u32) as usize };
        let mut sizes: Vec<usize> = (0..drawn).map(size).collect();
        sizes.push(n - sizes.iter().sum::<usize>());
        sizes
    }
}
