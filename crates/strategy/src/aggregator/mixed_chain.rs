//! An aggregator behind any number of pre-aggregators, such as `nnm+trimmed-mean:f=2`.

use std::{fmt, ops::Deref, str::FromStr};

use fedpipe_random::key::Key;
use fedpipe_spec::{
    error::Error,
    table::{Named, Tabled},
    text::members_of,
};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use super::{Aggregator, Member, Updates};
use crate::{
    pre_aggregator::{PreAggregator, Vectors},
    slots::Slots,
    vector_math::Math,
};

/// An aggregator behind pre-aggregators. Its text is that of the aggregator, after those of the pre-aggregators with
/// `+` between them.
#[derive(Debug, Clone, Default, PartialEq, DeserializeFromStr, SerializeDisplay)]
pub struct Aggregation {
    /// The pre-aggregators in order.
    before: Vec<Named<dyn PreAggregator>>,
    rule: Named<dyn Aggregator>,
}

impl Aggregation {
    /// Returns the aggregate of a round, a weight vector, and sets the slots of the aggregator. `key` is that of the
    /// orders that pre-aggregators draw.
    pub fn aggregate(&self, updates: &Updates<'_>, slots: &mut Slots, key: &Key, math: &dyn Math) -> Vec<f32> {
        let mut made: Option<Vec<Vec<f32>>> = None;
        for (place, pre) in self.before.iter().enumerate() {
            let rows = made.as_ref().map_or_else(|| updates.rows(), |made| made.iter().map(Vec::as_slice).collect());
            let faulty = self.rule.faulty(rows.len()).unwrap_or(0);
            // Two pre-aggregators of a chain have orders of their own.
            let key = Key { epoch: place as u64, ..*key };
            made = Some(pre.vectors(&Vectors { received: updates.received, rows: &rows, faulty, key }, math));
        }
        let Some(made) = made else { return self.rule.aggregate(updates, slots, math) };
        let member = |weights| Member { update: None, weight: 1.0, weights };
        let members: Vec<_> = made.iter().map(|made| member(made.as_slice())).collect();
        self.rule.aggregate(&Updates { members: &members, ..*updates }, slots, math)
    }

    /// Returns the aggregator behind the pre-aggregators.
    pub fn rule(&self) -> &Named<dyn Aggregator> {
        &self.rule
    }

    /// Returns `true` if there is a pre-aggregator.
    pub fn is_chain(&self) -> bool {
        !self.before.is_empty()
    }

    /// Returns `true` if the aggregate is the weighted mean of the updates.
    pub fn is_mean(&self) -> bool {
        !self.is_chain() && self.rule.is_mean()
    }

    /// Returns `true` if the weights of the updates have a part in the aggregate.
    pub fn is_weighted(&self) -> bool {
        !self.is_chain() && self.rule.is_weighted()
    }

    /// Returns `true` if the rules have a meaning for one update alone.
    pub fn suits_one_update(&self) -> bool {
        !self.is_chain() && self.rule.suits_one_update()
    }

    /// Returns the fewest updates with which the rules have an effect of their own, at least 1.
    pub fn least_updates(&self) -> u32 {
        self.before.iter().rev().fold(self.rule.least_updates(), |least, pre| pre.least_updates(least))
    }

    fn checked(self) -> Result<Self, Error> {
        let lacks = |pre: &&Named<dyn PreAggregator>| pre.takes_faulty() && self.rule.faulty(1).is_none();
        match self.before.iter().find(lacks) {
            None => Ok(self),
            Some(pre) => Err(Error::Misplaced {
                what: <dyn PreAggregator>::WHAT,
                given: pre.to_string(),
                next: self.rule.to_string(),
                reason: "its f is that of the aggregator, which has none; give it one of its own, such as f=2",
            }),
        }
    }
}

/// The properties of the aggregator that no pre-aggregator changes.
impl Deref for Aggregation {
    type Target = dyn Aggregator;

    fn deref(&self) -> &Self::Target {
        &*self.rule
    }
}

impl fmt::Display for Aggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.before.iter().try_for_each(|pre| write!(f, "{pre}+"))?;
        self.rule.fmt(f)
    }
}

impl FromStr for Aggregation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut members = members_of(text);
        let rule = members.pop().unwrap_or_default().parse()?;
        let before = members.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Self { before, rule }.checked()
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_random::key::Use;

    use super::*;
    use crate::{aggregator::testing::flat, vector_math::OneCore};

    fn read(text: &str) -> Aggregation {
        text.parse().unwrap()
    }

    #[test]
    fn a_chain_survives_its_text() {
        let cases = [
            ("mean", "mean"),
            ("nnm+trimmed-mean:f=2", "nnm:f=rule+trimmed-mean:beta=0.1,f=2"),
            ("arc:f=1+nnm:2+median", "arc:f=1+nnm:f=2+median"),
            ("bucketing:3+krum:1", "bucketing:s=3+krum:f=1"),
            ("norm-bounding:1e+2", "norm-bounding:norm=100"),
        ];
        for (text, shown) in cases {
            assert_eq!((read(text).to_string().as_str(), read(shown)), (shown, read(text)), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let cases = [
            ("nnm+median", "the pre-aggregator nnm:f=rule cannot stand before median: its f is that of the aggregator"),
            ("median+krum:1", "the pre-aggregator `median` is unknown; known are nnm, bucketing, arc"),
            ("nnm", "the aggregator `nnm` is unknown"),
            ("nnm+", "the aggregator `` is unknown"),
        ];
        for (text, expected) in cases {
            let why = text.parse::<Aggregation>().unwrap_err().to_string();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }

    /// Buckets of two leave half of the updates.
    #[test]
    fn the_fewest_updates_are_those_before_the_pre_aggregators() {
        let least = [
            ("krum:2", 7),
            ("nnm+krum:2", 7),
            ("bucketing:2+krum:2", 13),
            ("bucketing:3+bucketing:2+krum:2", 37),
            ("nnm:9+median", 10),
            ("arc:3+mean", 4),
        ];
        least.iter().for_each(|(text, least)| assert_eq!(read(text).least_updates(), *least, "{text}"));
    }

    #[test]
    fn the_rule_takes_the_vectors_of_the_last_pre_aggregator() {
        let rows = [[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];
        let members = rows.each_ref().map(|row| Member { update: None, weight: 9.0, weights: row });
        let layout = flat(3);
        let updates =
            Updates { received: &[0.0; 3], members: &members, is_proximal: false, learning_rate: 0.1, layout: &layout };
        let key = Key { seed: 1, purpose: Use::Aggregate, client: 0, round: 1, epoch: 0 };
        let aggregate = |text: &str| read(text).aggregate(&updates, &mut Slots::default(), &key, &OneCore);
        // NNM gives 2.5, 2.5 and 5.5 for the first weight.
        assert_eq!(aggregate("nnm+trimmed-mean:f=1"), [2.5, 3.5, 4.5]);
        assert_eq!(aggregate("nnm:1+mean"), [3.5, 4.5, 5.5]);
        assert_eq!(aggregate("bucketing:3+median"), [4.0, 5.0, 6.0]);
        assert!(!read("nnm:1+mean").is_weighted() && !read("nnm:1+mean").is_mean() && read("mean").is_weighted());
    }
}
