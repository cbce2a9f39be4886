//! Draws the classes of each client from Dirichlet shares of its own, at even sizes (Hsu 2019).

use std::sync::Arc;

use fedpipe_random::{
    ChaCha8Rng,
    gamma::{ln_shares, shares_of},
    key::unit,
    order::shuffle,
};
use fedpipe_spec::table::TableRow;

use super::{
    Labelled, Partitioner,
    cut::{even_sizes, sorted},
    dirichlet::ALPHA,
    key,
};
use crate::error::DataError;

/// Its alpha is not that of `dirichlet`, which draws shares over the clients.
pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "dirichlet-client",
    summary: "draws each client's examples by class from its own Dirichlet shares; sizes differ by at most 1",
    parameters: &[ALPHA],
    source: "Hsu 2019, section 3; FedLab, `client_inner_dirichlet_partition`",
    build: |values| Arc::new(DirichletClient { alpha: values.number("alpha") }),
};

#[derive(Debug)]
struct DirichletClient {
    alpha: f64,
}

impl Partitioner for DirichletClient {
    /// Lets the clients take one example each in turns. A class without rows left is closed, and the shares of the
    /// others are scaled up.
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let mut rng = key(seed, 0).rng();
        let mut left = labelled.rows_by_present_class(ROW.name)?;
        left.iter_mut().for_each(|rows| shuffle(rows, &mut rng));
        let priors: Vec<Vec<f64>> = (0..clients).map(|_| ln_shares(self.alpha, left.len(), &mut rng)).collect();
        let sizes = even_sizes(labelled.examples, clients as usize);
        let mut parts = vec![Vec::new(); clients as usize];
        for turn in 0..sizes[0] {
            for (client, prior) in priors.iter().enumerate().filter(|(client, _)| turn < sizes[*client]) {
                let class = draw(prior, &left, &mut rng);
                parts[client].extend(left[class].pop());
            }
        }
        Ok(sorted(parts))
    }
}

/// Draws a class that has rows left.
fn draw(prior: &[f64], left: &[Vec<u32>], rng: &mut ChaCha8Rng) -> usize {
    let open: Vec<bool> = left.iter().map(|rows| !rows.is_empty()).collect();
    let (drawn, mut sum) = (unit(rng), 0.0);
    let reached = shares_of(prior, &open).iter().position(|share| {
        sum += share;
        drawn < sum
    });
    // Rounding may leave the sum below 1.
    reached.or_else(|| open.iter().rposition(|open| *open)).unwrap_or(0)
}
