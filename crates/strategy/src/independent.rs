//! Compares rules with `independent.csv`, which `independent.py` computes in NumPy and SciPy from the papers' formulas.

use std::sync::Arc;

use fedpipe_protocol::Update;
use fedpipe_random::normal::quantile;

use crate::{
    aggregator::testing::flat,
    attack::Attackers,
    closed_round::{ClientUpdate, ClosedRound, order_key},
    schedule::Arrival,
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

    /// Returns the weights after all updates. Update k received weights moved by 0.1 k, and is k versions old.
    fn in_virtual_time(&self, rules: &Strategy) -> Vec<f32> {
        let (layout, none) = (flat(self.received.len()), Slots::default());
        let size = rules.schedule.buffer_size().unwrap() as usize;
        let (mut current, mut place) = (self.received.clone(), 0);
        for updates in self.client_updates().chunks_mut(size) {
            for update in &mut *updates {
                let received: Vec<f32> = self.received.iter().map(|weight| weight + 0.1 * place as f32).collect();
                let arrival = Arrival { current: &current, received: &received, staleness: place, layout: &layout };
                rules.schedule.place(&arrival, &mut update.weights);
                place += 1;
            }
            let (key, clients) = (order_key(1, 1), self.updates.len() as u32);
            let round = ClosedRound { received: &current, updates, clients, learning_rate: 0.1, layout: &layout, key };
            current = rules.apply(round, &none, &OneCore).unwrap().0;
        }
        current
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
        if name.starts_with("buffered") || name.starts_with("asynchronous") {
            return self.in_virtual_time(&StrategyRows::read("fedbuff", &[("schedule", name)]));
        }
        if let Some(count) = name.strip_prefix("power-of-choice of ") {
            let rules = StrategyRows::read("fedavg", &[("sample", "power-of-choice:11")]);
            let losses: Vec<_> = (0..).zip(&self.updates).map(|(client, row)| (client, f64::from(row[0]))).collect();
            let chosen = rules.sampler.choose(count.parse().unwrap(), &losses);
            return chosen.into_iter().map(|client| client as f32).collect();
        }
        if name == "fedexp output" {
            let rules: Strategy = "fedexp".parse().unwrap();
            let (weights, slots) = self.round(&rules, (&self.received, &none), &all);
            return rules.output(&Arc::new(weights), &slots).to_vec();
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
