//! A federation of quadratics f_k = ½ Σ a (w − b)² under a strategy, whose local steps are computed here in `f64`.

use std::{collections::BTreeMap, sync::Arc};

use fedpipe_protocol::{Kind, LINEAR, Layout, Place, Tensor, Update};
use fedpipe_strategy::{
    closed_round::{ClientUpdate, ClosedRound, Returned, order_key},
    local_work::ClientWork,
    slots::Slots,
    strategy::{Strategy, StrategyRows},
    term::{Given, Prepared},
    vector_math::OneCore,
};
use proptest::{prelude::*, strategy::Strategy as Arbitrary_};

pub(crate) const SIZE: usize = 5;
pub(crate) const RATE: f32 = 0.1;

/// A client: its curvatures, targets, examples, local steps and local momentum.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) a: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) examples: u64,
    pub(crate) steps: u64,
    pub(crate) momentum: f64,
}

/// A federation under a strategy.
pub(crate) struct Federation<'c> {
    pub(crate) strategy: Strategy,
    pub(crate) all: &'c [Client],
    pub(crate) layout: Layout,
    pub(crate) weights: Vec<f32>,
    pub(crate) server: Slots,
    pub(crate) states: BTreeMap<u32, Slots>,
}

impl Client {
    /// Returns the weights after the local steps that a request asks for.
    fn train(&self, received: &[f32], prepared: &Prepared) -> Vec<f32> {
        let proximal = f64::from(prepared.phases[0].proximal);
        let value = |index: usize| {
            let linear = prepared.parts.iter().find(|(name, _)| name == LINEAR);
            let linear = linear.map_or(0.0, |(_, linear)| f64::from(linear[index]));
            let [a, b, anchor] = [self.a[index], self.b[index], received[index]].map(f64::from);
            let step = |(w, u): (f64, f64)| {
                let u = self.momentum * u + (a * (w - b) + proximal * (w - anchor) + linear);
                (w - f64::from(RATE) * u, u)
            };
            (0..self.steps).fold((anchor, 0.0), |moved, _| step(moved)).0 as f32
        };
        (0..SIZE).map(value).collect()
    }

    /// Returns ‖a‖₁ of SGD with a proximal term or momentum: the counters of FedNova's code.
    fn accumulation(&self, proximal: f32) -> f64 {
        let left = 1.0 - f64::from(RATE) * f64::from(proximal);
        let step = |(sum, count): (f64, f64)| {
            let count = self.momentum * count + 1.0;
            (left * sum + count, count)
        };
        (0..self.steps).fold((0.0, 0.0), |counted, _| step(counted)).0
    }
}

impl<'c> Federation<'c> {
    pub(crate) fn new(strategy: &str, all: &'c [Client]) -> Self {
        Self::of(strategy.parse().unwrap(), all)
    }

    /// Returns a federation under a preset with another weighting.
    pub(crate) fn weighted(preset: &str, weighting: &str, all: &'c [Client]) -> Self {
        let weighting = Some(weighting.parse().unwrap());
        Self::of(StrategyRows { name: preset.parse().unwrap(), weighting, ..StrategyRows::default() }.into(), all)
    }

    pub(crate) fn of(strategy: Strategy, all: &'c [Client]) -> Self {
        let tensor = Tensor { name: "w".into(), shape: vec![SIZE], kind: Kind::Param, place: Place::Shared };
        let (layout, weights) = (Layout::new(vec![tensor]).unwrap(), vec![0.25; SIZE]);
        Self { strategy, all, layout, weights, server: Slots::default(), states: BTreeMap::new() }
    }

    fn state(&self, client: u32) -> Slots {
        self.states.get(&client).cloned().unwrap_or_default()
    }

    /// Does a round of the `sampled` clients and returns their weights.
    pub(crate) fn round(&mut self, sampled: &[u32]) -> Vec<Vec<f32>> {
        let mut updates: Vec<ClientUpdate> = sampled.iter().map(|&number| self.train(number)).collect();
        let round = ClosedRound {
            received: &self.weights,
            updates: &mut updates,
            clients: self.all.len() as u32,
            learning_rate: RATE,
            layout: &self.layout,
            key: order_key(1, 1),
        };
        let (weights, server) = self.strategy.apply(round, &self.server, &OneCore).unwrap();
        (self.weights, self.server) = (weights, server);
        for update in &updates {
            self.states.insert(update.header.client, update.after.clone());
        }
        updates.into_iter().map(|update| update.weights).collect()
    }

    fn train(&self, number: u32) -> ClientUpdate {
        let (client, before) = (&self.all[number as usize], self.state(number));
        let given = Given {
            weights: &self.weights,
            server: &self.server,
            client: &before,
            initial: &Arc::default(),
            work: ClientWork::epochs(1),
            learning_rate: RATE,
            layout: &self.layout,
        };
        let prepared = self.strategy.term.prepare(&given);
        let start = self.strategy.term.own_weights(&before).map_or(&self.weights, |own| own);
        let weights = client.train(start, &prepared);
        let accumulation = Some(client.accumulation(prepared.phases[0].proximal));
        let header = Update { steps: client.steps, accumulation, ..Update::plain(number, 1, client.examples) };
        let returned = Returned { header, weights, slots: Vec::new() };
        let after = self.strategy.term.accept(&given, &returned);
        ClientUpdate { before, after, ..ClientUpdate::new(returned.header, returned.weights) }
    }

    /// Does so many rounds of all clients and returns the weights.
    pub(crate) fn rounds(mut self, count: usize) -> Vec<f32> {
        let all = Vec::from_iter(0..self.all.len() as u32);
        (0..count).for_each(|_| drop(self.round(&all)));
        self.weights
    }
}

/// Returns between 1 and `most` clients, with so many local steps each.
pub(crate) fn clients(most: usize, steps: std::ops::RangeInclusive<u64>) -> impl Arbitrary_<Value = Vec<Client>> {
    let values = |range: std::ops::Range<f32>| prop::collection::vec(range, SIZE);
    let client = (values(0.1..3.0), values(-2.0..2.0), 1..500_u64, steps);
    let client = client.prop_map(|(a, b, examples, steps)| Client { a, b, examples, steps, momentum: 0.0 });
    prop::collection::vec(client, 1..=most)
}

/// Returns the greatest difference of two vectors.
pub(crate) fn distance(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// Returns Σ c x / Σ c for each element.
pub(crate) fn mean(vectors: &[Vec<f32>], coefficients: &[f64]) -> Vec<f32> {
    let total: f64 = coefficients.iter().sum();
    let value = |index: usize| vectors.iter().zip(coefficients).map(|(x, c)| c * f64::from(x[index])).sum::<f64>();
    (0..SIZE).map(|index| (value(index) / total) as f32).collect()
}

pub(crate) fn with_steps(all: &[Client], steps: u64) -> Vec<Client> {
    all.iter().map(|client| Client { steps, ..client.clone() }).collect()
}

/// Returns the Euclidean norm.
pub(crate) fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}
