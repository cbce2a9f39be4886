//! Deals each class in Dirichlet shares over the clients (Yurochkin 2019; NIID-Bench, Li 2022).

use std::sync::Arc;

use fedpipe_random::{
    gamma::shares,
    key::{Key, Use},
    order::shuffle,
};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Labelled, Partitioner};
use crate::error::DataError;

/// The number of draws before the scheme fails.
const TRIES: u64 = 1000;

/// The variant that draws classes for each client (Hsu 2019) is another scheme.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "dirichlet",
    summary: "deals each class in Dirichlet shares over the clients",
    parameters: &[
        Parameter {
            key: "alpha",
            default: None,
            range: Range::Positive,
            help: "the concentration; a small value gives skewed partitions, a large one even partitions",
        },
        Parameter {
            key: "min-size",
            default: Some(Value::Number(10.0)),
            range: Range::Count,
            help: "the least size of a partition; the deal is drawn again until each client has it",
        },
        // As in the code of NIID-Bench, FedLab and PFLlib. `README.md` says which published numbers need it.
        Parameter {
            key: "balance",
            default: Some(Value::Flag(false)),
            range: Range::Flag,
            help: "true: a client that has its even share gets no further class",
        },
    ],
    source: "Yurochkin 2019; NIID-Bench, Li 2022",
    build: |values| {
        let (alpha, min_size) = (values.number("alpha"), values.count("min-size"));
        Arc::new(Dirichlet { alpha, min_size, balance: values.flag("balance") })
    },
};

#[derive(Debug)]
struct Dirichlet {
    alpha: f64,
    min_size: u32,
    balance: bool,
}

impl Partitioner for Dirichlet {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let Self { alpha, min_size, .. } = *self;
        let examples = labelled.examples();
        if u64::from(clients) * u64::from(min_size) > u64::from(examples) {
            return Err(DataError::MinSizeImpossible { min_size, clients, examples });
        }
        let by_class = rows_by_class(labelled.labels, labelled.classes);
        for attempt in 0..TRIES {
            let key = Key { seed, purpose: Use::Partition, client: 0, round: 0, epoch: attempt };
            let mut parts = draw(self, &by_class, clients, &key);
            if parts.iter().all(|part| part.len() >= min_size as usize) {
                for part in &mut parts {
                    part.sort_unstable();
                }
                return Ok(parts);
            }
        }
        Err(DataError::DirichletGaveUp { alpha, min_size, clients, tries: TRIES })
    }
}

fn rows_by_class(labels: &[u32], classes: u32) -> Vec<Vec<u32>> {
    let mut by_class = vec![Vec::new(); classes as usize];
    for (row, &label) in labels.iter().enumerate() {
        by_class[label as usize].push(row as u32);
    }
    by_class
}

/// Draws one deal. For each class in order: shuffles its rows, draws shares, and cuts the rows at the running sums of
/// the shares.
fn draw(rule: &Dirichlet, by_class: &[Vec<u32>], clients: u32, key: &Key) -> Vec<Vec<u32>> {
    let mut rng = key.rng();
    let examples: usize = by_class.iter().map(Vec::len).sum();
    let mut parts: Vec<Vec<u32>> = vec![Vec::new(); clients as usize];
    for rows in by_class.iter().filter(|rows| !rows.is_empty()) {
        let mut rows = rows.clone();
        shuffle(&mut rows, &mut rng);
        // This is len < examples / clients without a division. While rows are left, at least one client is below.
        let open: Vec<bool> =
            parts.iter().map(|part| !rule.balance || part.len() * (clients as usize) < examples).collect();
        let shares = shares(rule.alpha, &open, &mut rng);
        let last = open.iter().rposition(|open| *open).unwrap_or(0);
        let (mut sum, mut start) = (0.0, 0);
        for (k, share) in shares.iter().enumerate() {
            sum += share;
            // The last open client takes the rest, since rounding may leave the running sum below 1.
            let cut = if k < last { (sum * rows.len() as f64) as usize } else { rows.len() };
            let cut = cut.min(rows.len());
            parts[k].extend_from_slice(&rows[start..cut]);
            start = cut;
        }
    }
    parts
}
