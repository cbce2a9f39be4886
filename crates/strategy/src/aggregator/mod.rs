//! Aggregators: one weight vector from the updates of a round.

mod mean;
mod median;
mod normalised;
pub(crate) mod q_fair;
mod trimmed_mean;

use std::fmt;

use fedpipe_protocol::{ScoreStart, Update};
use fedpipe_spec::table::{TableRow, Tabled};

use crate::{closed_round::ClientUpdate, vector_math::Math, weighting::Weighting};

/// The updates of a round, in client order, at least one.
#[derive(Debug, Clone, Copy)]
pub struct Updates<'a> {
    /// The weights that the clients received.
    pub received: &'a [f32],
    /// The updates.
    pub members: &'a [Member<'a>],
    /// `true` if the clients trained with a proximal term.
    pub is_proximal: bool,
    /// The local learning rate.
    pub learning_rate: f32,
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

    /// Returns the training rows on which each client must score the weights that it received; `None` if it need not.
    fn score_start(&self) -> Option<ScoreStart> {
        None
    }

    /// Returns `true` if the aggregate suits running statistics, which are no sum of steps. Otherwise buffers take the
    /// weighted mean, and the rule sees 0 in their place.
    fn suits_buffers(&self) -> bool {
        true
    }

    /// Returns `true` if the weights of the updates have a part in the aggregate.
    fn is_weighted(&self) -> bool {
        true
    }

    /// Returns the fewest updates with which the rule has an effect of its own, at least 1.
    fn least_updates(&self) -> u32 {
        1
    }

    /// Returns `true` if the aggregate is the weighted mean.
    fn is_mean(&self) -> bool {
        false
    }
}

/// Returns the vector whose value at each index is that of `rule` for the members' values there, in any order.
fn by_column(members: &[Member<'_>], math: &dyn Math, rule: &(dyn Fn(&mut [f32]) -> f32 + Sync)) -> Vec<f32> {
    let members: Vec<_> = members.iter().map(|member| member.weights).collect();
    math.by_block(&members, &|rows, out| {
        let mut column = vec![0.0; rows.len()];
        for (index, out) in out.iter_mut().enumerate() {
            column.iter_mut().zip(rows).for_each(|(value, row)| *value = row[index]);
            *out = rule(&mut column);
        }
    })
}

static ROWS: [TableRow<dyn Aggregator>; 5] = [mean::ROW, normalised::ROW, q_fair::ROW, median::ROW, trimmed_mean::ROW];

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
