//! Deals each class in Dirichlet shares over the clients (Yurochkin 2019; NIID-Bench, Li 2022).

use std::sync::Arc;

use fedpipe_random::{ChaCha8Rng, gamma::shares, order::shuffle};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    Labelled, Partitioner, TRIES,
    cut::{share_out, sizes_of_shares, sorted},
    key,
};
use crate::error::DataError;

/// The variant that draws classes for each client (Hsu 2019) is `dirichlet-client`.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "dirichlet",
    summary: "deals each class in Dirichlet shares over the clients",
    parameters: &[
        ALPHA,
        MIN_SIZE,
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

/// The concentration of a Dirichlet distribution.
pub(super) const ALPHA: Parameter = Parameter {
    key: "alpha",
    default: None,
    range: Range::Positive,
    help: "the concentration; a small value gives skewed partitions, a large one even partitions",
};

/// The least size of a partition.
pub(super) const MIN_SIZE: Parameter = Parameter {
    key: "min-size",
    default: Some(Value::Number(10.0)),
    range: Range::Count,
    help: "the least size of a partition; the deal is drawn again until each client has it",
};

#[derive(Debug)]
struct Dirichlet {
    alpha: f64,
    min_size: u32,
    balance: bool,
}

impl Partitioner for Dirichlet {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let Self { alpha, min_size, balance } = *self;
        refuse_min_size(min_size, clients, labelled.examples())?;
        let by_class = labelled.rows_by_present_class(ROW.name)?;
        let examples = labelled.examples() as usize;
        for attempt in 0..TRIES {
            let mut rng = key(seed, attempt).rng();
            let mut parts: Vec<Vec<u32>> = vec![Vec::new(); clients as usize];
            for rows in &by_class {
                let open: Vec<bool> =
                    parts.iter().map(|part| !balance || is_below_share(part, clients, examples)).collect();
                deal_class(rows, &open, alpha, &mut parts, &mut rng);
            }
            if parts.iter().all(|part| part.len() >= min_size as usize) {
                return Ok(sorted(parts));
            }
        }
        let remedy = "raise `alpha`, lower `min-size`, or set `balance=true`";
        Err(DataError::DirichletGaveUp { alpha, min_size, clients, tries: TRIES, remedy })
    }
}

/// Refuses more examples for the clients than there are.
pub(super) fn refuse_min_size(min_size: u32, clients: u32, examples: u32) -> Result<(), DataError> {
    if u64::from(clients) * u64::from(min_size) > u64::from(examples) {
        return Err(DataError::MinSizeImpossible { min_size, clients, examples });
    }
    Ok(())
}

/// Returns `true` if a client has fewer than its even share of the examples. While rows are left, at least one client
/// has.
pub(super) fn is_below_share(part: &[u32], clients: u32, examples: usize) -> bool {
    part.len() * (clients as usize) < examples
}

/// Deals the rows of a class: shuffles them, draws shares for the `open` clients, and cuts the rows at the running sums
/// of the shares. The last open client takes the rest.
pub(super) fn deal_class(rows: &[u32], open: &[bool], alpha: f64, parts: &mut [Vec<u32>], rng: &mut ChaCha8Rng) {
    let mut rows = rows.to_vec();
    shuffle(&mut rows, rng);
    let shares = shares(alpha, open, rng);
    let last = open.iter().rposition(|open| *open).unwrap_or(0);
    share_out(&rows, &sizes_of_shares(&shares, rows.len(), last), parts.iter_mut());
}
