//! Identities of aggregators: ranges, symmetries, and the parameters under which a rule is the mean.

use fedpipe_protocol::Update;
use fedpipe_strategy::{
    closed_round::{ClientUpdate, ClosedRound, order_key},
    slots::Slots,
    strategy::StrategyRows,
    vector_math::OneCore,
};
use proptest::prelude::*;

use crate::federation::{Federation, RATE, SIZE, distance, mean};

proptest! {
    /// Faulty updates, however far away, leave each value within the honest ones.
    #[test]
    fn rules_by_weight_are_honest(mut rows in prop::collection::vec(prop::collection::vec(-2.0..2.0_f32, SIZE), 11..14), by in 1e3..1e12_f32) {
        let faulty = 2;
        let honest = rows.len() - faulty;
        let range = |index: usize| {
            let values = rows[..honest].iter().map(|row| row[index]);
            (values.clone().fold(f32::MAX, f32::min), values.fold(f32::MIN, f32::max))
        };
        let ranges: Vec<_> = (0..SIZE).map(range).collect();
        rows[honest..].iter_mut().for_each(|row| row.fill(by));
        let rules = ["median", "trimmed-mean:f=2", "bulyan:2", "krum:2", "multi-krum:2", "nnm+trimmed-mean:f=2"];
        for rule in rules {
            for (value, (least, most)) in aggregated(rule, &rows).iter().zip(&ranges) {
                prop_assert!((least..=most).contains(&value), "{}: {} is outside {}..{}", rule, value, least, most);
            }
        }
        prop_assert!(rows[..honest].contains(&aggregated("krum:2", &rows)));
    }

    /// The order of the clients changes no bit of a rule by weight, nor of a choice among updates. Bulyan scores its
    /// last picks by one neighbour, where two nearest neighbours have the same score.
    #[test]
    fn rules_are_of_no_order(mut rows in prop::collection::vec(prop::collection::vec(-2.0..2.0_f32, SIZE), 11..14)) {
        let exact = ["median", "trimmed-mean:f=2", "krum:1"];
        let near = ["multi-krum:2", "geometric-median", "norm-bounding:1", "centred-clipping:median"];
        let all: Vec<&str> = exact.into_iter().chain(near).collect();
        let before: Vec<_> = all.iter().map(|rule| aggregated(rule, &rows)).collect();
        rows.rotate_left(4);
        rows.swap(0, 5);
        for (rule, before) in all.iter().zip(&before) {
            let tolerance = if exact.contains(rule) { 0.0 } else { 1e-6 };
            prop_assert!(distance(&aggregated(rule, &rows), before) <= tolerance, "{}", rule);
        }
    }

    /// A shift of all updates shifts the aggregate.
    #[test]
    fn rules_follow_a_shift(rows in prop::collection::vec(prop::collection::vec(-2.0..2.0_f32, SIZE), 11..14), by in -4.0..4.0_f32) {
        let shifted: Vec<Vec<f32>> = rows.iter().map(|row| row.iter().map(|value| value + by).collect()).collect();
        for rule in ["median", "trimmed-mean:f=2", "multi-krum:2", "bulyan:2", "geometric-median", "nnm:2+median"] {
            let expected: Vec<f32> = aggregated(rule, &rows).iter().map(|value| value + by).collect();
            prop_assert!(distance(&aggregated(rule, &shifted), &expected) <= 1e-5, "{}", rule);
        }
    }

    /// The aggregates that are the equal mean by their parameters.
    #[test]
    fn rules_without_effect_are_the_equal_mean(rows in prop::collection::vec(prop::collection::vec(-2.0..2.0_f32, SIZE), 3..14)) {
        let expected = mean(&rows, &vec![1.0; rows.len()]);
        for rule in ["trimmed-mean:beta=0", "bulyan:0", "norm-bounding:1e6", "centred-clipping:1e6", "nnm:f=0+median", "bucketing:99+median", "arc:f=0+mean"] {
            prop_assert!(distance(&aggregated(rule, &rows), &expected) <= 1e-6, "{}", rule);
        }
    }
}

/// Returns the aggregate of some weights.
fn aggregated(rule: &str, rows: &[Vec<f32>]) -> Vec<f32> {
    let preset = StrategyRows { aggregate: Some(rule.parse().unwrap()), ..StrategyRows::default() };
    let federation = Federation::of(preset.into(), &[]);
    let update = |(client, weights): (u32, &Vec<f32>)| ClientUpdate::new(Update::plain(client, 1, 1), weights.clone());
    let mut updates: Vec<ClientUpdate> = (0..).zip(rows).map(update).collect();
    let (received, clients) = (&federation.weights[..], rows.len() as u32);
    let round = ClosedRound {
        received,
        updates: &mut updates,
        clients,
        learning_rate: RATE,
        layout: &federation.layout,
        key: order_key(1, 1),
    };
    federation.strategy.apply(round, &Slots::default(), &OneCore).unwrap().0
}
