//! Compares rules with `independent.csv`, which `independent.py` computes in NumPy and SciPy from the papers' formulas.

use fedpipe_protocol::Update;
use fedpipe_random::normal::quantile;

use crate::{
    aggregator::testing::flat,
    attack::Attackers,
    closed_round::{ClientUpdate, ClosedRound, order_key},
    slots::Slots,
    strategy::{Strategy, StrategyRows},
    vector_math::OneCore,
};

/// The lines of the file.
struct Independent {
    received: Vec<f32>,
    updates: Vec<Vec<f32>>,
    /// The other lines: a name and its values.
    computed: Vec<(&'static str, Vec<f64>)>,
}

impl Independent {
    fn read() -> Self {
        let numbers = |text: &str| -> Vec<f64> { text.split(' ').map(|value| value.parse().unwrap()).collect() };
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
        let lines = include_str!("../independent.csv").lines();
        let lines: Vec<_> = lines.map(|line| line.split_once(';').unwrap()).map(|(n, row)| (n, numbers(row))).collect();
        // `tests/personal_rounds.rs` reads the lines of personal methods.
        let lines = lines.into_iter().filter(|(name, _)| !name.starts_with("personal "));
        let (inputs, computed): (Vec<_>, Vec<_>) = lines.partition(|(name, _)| ["received", "update"].contains(name));
        let mut inputs = inputs.into_iter().map(|(_, row)| narrow(row));
        Self { received: inputs.next().unwrap(), updates: inputs.collect(), computed }
    }

    fn client_updates(&self) -> Vec<ClientUpdate> {
        let update = |(client, row): (u32, &Vec<f32>)| ClientUpdate::new(Update::plain(client, 1, 1), row.clone());
        (0..).zip(&self.updates).map(update).collect()
    }

    /// Returns the weights after a round from `weights` with some of the updates.
    fn round(&self, rules: &Strategy, (weights, slots): (&[f32], &Slots), chosen: &[usize]) -> (Vec<f32>, Slots) {
        let layout = flat(weights.len());
        let all = self.client_updates();
        let mut updates: Vec<_> = chosen.iter().map(|&place| all[place].clone()).collect();
        let clients = all.len() as u32;
        let (updates, key) = (&mut updates[..], order_key(1, 1));
        let round = ClosedRound { received: weights, updates, clients, learning_rate: 0.1, layout: &layout, key };
        rules.apply(round, slots, &OneCore).unwrap()
    }

    /// Returns the values of a line by this crate.
    fn ours(&self, name: &str) -> Vec<f32> {
        let none = Slots::default();
        let all: Vec<usize> = (0..self.updates.len()).collect();
        if let Some(server) = name.strip_prefix("server ") {
            let rules = StrategyRows::read("fedavg", &[("server", server)]);
            let start = (self.received.clone(), none);
            let rounds = (0..3).fold(start, |(weights, slots), place| self.round(&rules, (&weights, &slots), &[place]));
            return rounds.0;
        }
        if let Some(attack) = name.strip_prefix("attack ") {
            let rules = StrategyRows::read("fedavg", &[("attack", attack)]);
            let (mut updates, layout) = (self.client_updates(), flat(self.received.len()));
            let attackers = Attackers { attack: &*rules.attack, clients: &[0, 1, 2], of: all.len() as u32, seed: 1 };
            attackers.alter(&mut updates, (1, &self.received), &layout, &OneCore);
            return updates[0].weights.clone();
        }
        let rules = match name {
            "fedexp" => "fedexp".parse().unwrap(),
            rule => StrategyRows::read("fedavg", &[("aggregate", rule), ("weighting", "equal")]),
        };
        self.round(&rules, (&self.received, &none), &all).0
    }
}

#[test]
fn each_rule_has_the_values_of_an_independent_computation() {
    let independent = Independent::read();
    let mut differing = Vec::new();
    for (name, expected) in &independent.computed {
        // SciPy looks for the least sum of distances, and the rule divides by at least ν.
        let tolerance = if name.contains("iterations=1000") { 1e-4 } else { 2e-6 };
        let ours: Vec<f64> = if *name == "normal quantile" {
            [4.0 / 9.0, 5.0 / 8.0, 9.0 / 16.0, 4.0 / 7.0, 9.0 / 14.0].map(quantile).to_vec()
        } else {
            independent.ours(name).into_iter().map(f64::from).collect()
        };
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * b.abs().max(1.0);
        if !(ours.len() == expected.len() && ours.iter().zip(expected).all(near)) {
            differing.push(format!("{name}: {ours:?}, expected {expected:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert!(independent.computed.len() > 35);
}
