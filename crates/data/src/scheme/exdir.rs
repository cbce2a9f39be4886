//! Gives each client `k` labels and deals each label in Dirichlet shares over its holders (PFLlib, `exdir`).

use std::sync::Arc;

use fedpipe_random::{ChaCha8Rng, order::shuffle};
use fedpipe_spec::table::TableRow;

use super::{
    Labelled, Partitioner, TRIES,
    cut::sorted,
    dirichlet::{ALPHA, MIN_SIZE, deal_class, is_below_share, refuse_min_size},
    key,
    labels::{LABELS, others},
};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "exdir",
    summary: "gives each client k random labels, and deals each label in Dirichlet shares over its holders",
    parameters: &[LABELS, ALPHA, MIN_SIZE],
    source: "Li 2023, arXiv 2311.03154; PFLlib, `separate_data`, partition `exdir`",
    build: |values| {
        let (k, alpha, min_size) = (values.count("k"), values.number("alpha"), values.count("min-size"));
        Arc::new(ExDir { k, alpha, min_size })
    },
};

#[derive(Debug)]
struct ExDir {
    k: u32,
    alpha: f64,
    min_size: u32,
}

impl Partitioner for ExDir {
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let Self { k, alpha, min_size } = *self;
        let by_label = labelled.rows_by_present_class(ROW.name)?;
        let labels = by_label.len();
        others(k, labels)?;
        refuse_min_size(min_size, clients, labelled.examples())?;
        let slots = u64::from(clients) * u64::from(k);
        if slots < labels as u64 {
            return Err(DataError::TooFewHolders { k, clients, labels });
        }
        let least = (slots as usize / labels / 2).max(1);
        for attempt in 0..TRIES {
            let mut rng = key(seed, attempt).rng();
            let holds = self.draw_holders(labels, clients, &mut rng);
            if (0..labels).all(|label| holds.iter().filter(|holds| holds[label]).count() >= least) {
                let parts = self.draw_parts(&by_label, &holds, &mut rng);
                if parts.iter().all(|part| part.len() >= min_size as usize) {
                    return Ok(sorted(parts));
                }
            }
        }
        let remedy = "raise `alpha` or `k`, or lower `min-size`";
        Err(DataError::DirichletGaveUp { alpha, min_size, clients, tries: TRIES, remedy })
    }
}

impl ExDir {
    /// Draws the labels of each client.
    fn draw_holders(&self, labels: usize, clients: u32, rng: &mut ChaCha8Rng) -> Vec<Vec<bool>> {
        let mut draw = |_| {
            let mut order: Vec<usize> = (0..labels).collect();
            shuffle(&mut order, rng);
            let mine = &order[..self.k as usize];
            (0..labels).map(|label| mine.contains(&label)).collect()
        };
        (0..clients).map(&mut draw).collect()
    }

    /// Deals each label over its holders below their even share of all examples, or over all its holders if none is
    /// below.
    fn draw_parts(&self, by_label: &[Vec<u32>], holds: &[Vec<bool>], rng: &mut ChaCha8Rng) -> Vec<Vec<u32>> {
        let examples = by_label.iter().map(Vec::len).sum();
        let clients = holds.len() as u32;
        let mut parts = vec![Vec::new(); holds.len()];
        for (label, rows) in by_label.iter().enumerate() {
            let holders: Vec<bool> = holds.iter().map(|holds| holds[label]).collect();
            let is_open = |(part, holds): (&Vec<u32>, &bool)| *holds && is_below_share(part, clients, examples);
            let open: Vec<bool> = parts.iter().zip(&holders).map(is_open).collect();
            let open = if open.contains(&true) { open } else { holders };
            deal_class(rows, &open, self.alpha, &mut parts, rng);
        }
        parts
    }
}
