//! Aggregators: one weight vector from the updates of a round.

mod mean;
mod median;
mod normalised;
mod trimmed_mean;

use std::fmt;

use fedpipe_protocol::Update;
use fedpipe_spec::table::{TableRow, Tabled};

use crate::{round::ClientUpdate, vector_math::Math, weighting::Weighting};

/// The updates of a round, in client order, at least one.
#[derive(Debug, Clone, Copy)]
pub struct Updates<'a> {
    /// The weights that the clients received.
    pub received: &'a [f32],
    /// The updates.
    pub members: &'a [Member<'a>],
    /// `true` if the clients trained with a proximal term.
    pub is_proximal: bool,
}

/// An update that was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The numbers of the update.
    pub update: &'a Update,
    /// The weight by the weighting rule, above 0.
    pub weight: f64,
    /// The client's weights, flat.
    pub weights: &'a [f32],
}

impl<'a> Member<'a> {
    /// Returns an update with its weight by the `weighting`.
    pub(crate) fn of(update: &'a ClientUpdate, weighting: &dyn Weighting) -> Self {
        let ClientUpdate { header, weights, .. } = update;
        Self { update: header, weight: weighting.weight(header), weights }
    }
}

/// A rule that makes one weight vector.
pub trait Aggregator: fmt::Debug + Send + Sync {
    /// Returns the aggregate of a round, a weight vector.
    fn aggregate(&self, updates: &Updates<'_>, math: &dyn Math) -> Vec<f32>;

    /// Returns `true` if each update must have ‖a‖₁ of its local optimiser.
    fn needs_accumulation(&self) -> bool {
        false
    }

    /// Returns `true` if the aggregate suits running statistics, which are no sum of steps. Otherwise buffers take the
    /// weighted mean.
    fn suits_buffers(&self) -> bool {
        true
    }

    /// Returns `true` if the weights of the updates have a part in the aggregate.
    fn is_weighted(&self) -> bool {
        true
    }

    /// Returns `true` if the aggregate is the weighted mean.
    fn is_mean(&self) -> bool {
        false
    }
}

static ROWS: [TableRow<dyn Aggregator>; 4] = [mean::ROW, normalised::ROW, median::ROW, trimmed_mean::ROW];

impl Tabled for dyn Aggregator {
    const WHAT: &'static str = "aggregator";
    const LIST: &'static str = "aggregators";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Returns the update of a client with so many examples and steps.
    pub(crate) fn update(client: u32, examples: u64, steps: u64) -> Update {
        Update { steps, accumulation: Some(steps as f64), ..Update::plain(client, 1, examples) }
    }
}
