//! Aggregators: one weight vector from the updates of a round.

mod bulyan;
mod centred_clipping;
mod geometric_median;
mod krum;
mod mean;
mod median;
pub mod mixed_chain;
mod multi_krum;
mod norm_bounding;
mod normalised;
pub(crate) mod q_fair;
mod trimmed_mean;

use std::{fmt, ops::Range};

use fedpipe_protocol::{Layout, ScoreStart, Update};
use fedpipe_spec::table::{TableRow, Tabled};

use crate::{
    closed_round::ClientUpdate,
    slots::Slots,
    sorted_columns::{ColumnBlock, SortedColumns},
    vector_math::Math,
    weighting::Weighting,
};

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
    /// The tensors of the weights.
    pub layout: &'a Layout,
}

impl<'a> Updates<'a> {
    /// Returns the weights of all updates.
    fn rows(&self) -> Vec<&'a [f32]> {
        self.members.iter().map(|member| member.weights).collect()
    }

    /// Returns the lengths of the changes from `origin`.
    fn lengths(&self, origin: &[f32], math: &dyn Math) -> Vec<f64> {
        self.members.iter().map(|member| math.squared_distance(origin, member.weights).sqrt()).collect()
    }
}

/// An update that was accepted, or a vector in its place.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The numbers of the update; none for a vector that a pre-aggregator made.
    pub update: Option<&'a Update>,
    /// The weight by the weighting rule, above 0.
    pub weight: f64,
    /// The client's weights, flat.
    pub weights: &'a [f32],
}

impl<'a> Member<'a> {
    /// Returns an update with its weight by the `weighting`.
    pub(crate) fn of(update: &'a ClientUpdate, weighting: &dyn Weighting) -> Self {
        let ClientUpdate { header, weights, .. } = update;
        Self { update: Some(header), weight: update.weight(weighting), weights }
    }
}

/// A rule that makes one weight vector.
pub trait Aggregator: fmt::Debug + Send + Sync {
    /// Returns the aggregate of a round, a weight vector, and sets the slots of this rule.
    fn aggregate(&self, updates: &Updates<'_>, slots: &mut Slots, math: &dyn Math) -> Vec<f32>;

    /// Returns the names of the slots that this rule sets. No other row has a slot of such a name.
    fn slots(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns `true` if the rule needs the numbers of each client's update besides the weights.
    fn needs_numbers(&self) -> bool {
        false
    }

    /// Returns the number of faulty updates among `count` that the rule is meant for; `None` if it has no such number.
    fn faulty(&self, _count: usize) -> Option<usize> {
        None
    }

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

    /// Returns the bound from which the fewest updates follow.
    fn bound(&self) -> &'static str {
        "n ≥ 1"
    }

    /// Returns `true` if the aggregate is the weighted mean.
    fn is_mean(&self) -> bool {
        false
    }

    /// Returns `true` if the rule has a meaning for one update alone. A rule that compares updates has none.
    fn suits_one_update(&self) -> bool {
        self.is_mean()
    }
}

/// Returns the vector that `rule` makes of the sorted values of each weight: of those of the ranks.
fn by_sorted(
    rows: &[&[f32]],
    ranks: Range<usize>,
    math: &dyn Math,
    rule: &(dyn Fn(&[ColumnBlock]) -> ColumnBlock + Sync),
) -> Vec<f32> {
    let network = SortedColumns::new(rows.len(), ranks.clone());
    math.by_block(rows, &|rows, out| network.for_each(rows, out, |sorted, out| *out = rule(&sorted[ranks.clone()])))
}

/// Returns the equal mean of some rows, in their order.
fn equal_mean(rows: &[&[f32]], math: &dyn Math) -> Vec<f32> {
    let members: Vec<_> = rows.iter().map(|row| (1.0, *row)).collect();
    math.combine(&members, members.len() as f64)
}

/// Returns the median of some numbers, at least one.
fn median_of(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { 0.5 * (numbers[middle - 1] + numbers[middle]) }
}

static ROWS: [TableRow<dyn Aggregator>; 11] = [
    mean::ROW,
    normalised::ROW,
    q_fair::ROW,
    median::ROW,
    trimmed_mean::ROW,
    krum::ROW,
    multi_krum::ROW,
    bulyan::ROW,
    geometric_median::ROW,
    norm_bounding::ROW,
    centred_clipping::ROW,
];

impl Tabled for dyn Aggregator {
    const WHAT: &'static str = "aggregator";
    const LIST: &'static str = "aggregators";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use fedpipe_protocol::{Kind, Place, Tensor};
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::vector_math::OneCore;

    /// Returns the update of a client with so many examples and steps.
    pub(crate) fn update(client: u32, examples: u64, steps: u64) -> Update {
        Update { steps, accumulation: Some(steps as f64), ..Update::plain(client, 1, examples) }
    }

    /// Returns a layout of one tensor with so many weights.
    pub(crate) fn flat(length: usize) -> Layout {
        let tensor = Tensor { name: "w".into(), shape: vec![length], kind: Kind::Param, place: Place::Shared };
        Layout::new(vec![tensor]).unwrap()
    }

    /// Returns the aggregate of updates with the weight 1, from 0, with the slots before and after it.
    pub(crate) fn aggregate_with<R: AsRef<[f32]>>(rule: &str, rows: &[R], slots: &mut Slots) -> Vec<f32> {
        let rule: Named<dyn Aggregator> = rule.parse().unwrap();
        let length = rows[0].as_ref().len();
        let members: Vec<_> =
            rows.iter().map(|row| Member { update: None, weight: 1.0, weights: row.as_ref() }).collect();
        let (received, layout) = (vec![0.0; length], flat(length));
        let updates =
            Updates { received: &received, members: &members, is_proximal: false, learning_rate: 0.1, layout: &layout };
        rule.aggregate(&updates, slots, &OneCore)
    }

    /// Returns the aggregate of updates with the weight 1, from 0.
    pub(crate) fn aggregate<R: AsRef<[f32]>>(rule: &str, rows: &[R]) -> Vec<f32> {
        aggregate_with(rule, rows, &mut Slots::default())
    }
}
