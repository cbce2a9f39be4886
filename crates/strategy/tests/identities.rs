//! Identities of the strategies as properties: federations of quadratics f_k = ½ Σ a (w − b)², whose local steps are
//! computed here in `f64`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot continue has failed")]

use std::{collections::BTreeMap, sync::Arc};

use fedpipe_protocol::{Kind, LINEAR, Layout, Parts, Place, Tensor, Update, read, write};
use fedpipe_random::key::{Key, Use};
use fedpipe_strategy::{
    closed_round::{ClientUpdate, ClosedRound, Returned, order_key},
    local_work::ClientWork,
    sampler::Draw,
    slots::Slots,
    strategy::{Strategy, StrategyRows},
    term::{Given, Prepared},
    transform::{Encoded, chain::Transforms},
    vector_math::OneCore,
};
use proptest::{prelude::*, strategy::Strategy as Arbitrary_};

const SIZE: usize = 5;
const RATE: f32 = 0.1;

/// A client: its curvatures, targets, examples, local steps and local momentum.
#[derive(Debug, Clone)]
struct Client {
    a: Vec<f32>,
    b: Vec<f32>,
    examples: u64,
    steps: u64,
    momentum: f64,
}

/// A federation under a strategy.
struct Federation<'c> {
    strategy: Strategy,
    all: &'c [Client],
    layout: Layout,
    weights: Vec<f32>,
    server: Slots,
    states: BTreeMap<u32, Slots>,
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
    fn new(strategy: &str, all: &'c [Client]) -> Self {
        Self::of(strategy.parse().unwrap(), all)
    }

    /// Returns a federation under a preset with another weighting.
    fn weighted(preset: &str, weighting: &str, all: &'c [Client]) -> Self {
        let weighting = Some(weighting.parse().unwrap());
        Self::of(StrategyRows { name: preset.parse().unwrap(), weighting, ..StrategyRows::default() }.into(), all)
    }

    fn of(strategy: Strategy, all: &'c [Client]) -> Self {
        let tensor = Tensor { name: "w".into(), shape: vec![SIZE], kind: Kind::Param, place: Place::Shared };
        let (layout, weights) = (Layout::new(vec![tensor]).unwrap(), vec![0.25; SIZE]);
        Self { strategy, all, layout, weights, server: Slots::default(), states: BTreeMap::new() }
    }

    fn state(&self, client: u32) -> Slots {
        self.states.get(&client).cloned().unwrap_or_default()
    }

    /// Does a round of the `sampled` clients and returns their weights.
    fn round(&mut self, sampled: &[u32]) -> Vec<Vec<f32>> {
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
    fn rounds(mut self, count: usize) -> Vec<f32> {
        let all = Vec::from_iter(0..self.all.len() as u32);
        (0..count).for_each(|_| drop(self.round(&all)));
        self.weights
    }
}

/// Returns between 1 and `most` clients, with so many local steps each.
fn clients(most: usize, steps: std::ops::RangeInclusive<u64>) -> impl Arbitrary_<Value = Vec<Client>> {
    let values = |range: std::ops::Range<f32>| prop::collection::vec(range, SIZE);
    let client = (values(0.1..3.0), values(-2.0..2.0), 1..500_u64, steps);
    let client = client.prop_map(|(a, b, examples, steps)| Client { a, b, examples, steps, momentum: 0.0 });
    prop::collection::vec(client, 1..=most)
}

/// Returns the greatest difference of two vectors.
fn distance(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max)
}

/// Returns Σ c x / Σ c for each element.
fn mean(vectors: &[Vec<f32>], coefficients: &[f64]) -> Vec<f32> {
    let total: f64 = coefficients.iter().sum();
    let value = |index: usize| vectors.iter().zip(coefficients).map(|(x, c)| c * f64::from(x[index])).sum::<f64>();
    (0..SIZE).map(|index| (value(index) / total) as f32).collect()
}

fn with_steps(all: &[Client], steps: u64) -> Vec<Client> {
    all.iter().map(|client| Client { steps, ..client.clone() }).collect()
}

proptest! {
    #[test]
    fn a_term_or_a_server_without_effect_has_the_bits_of_fedavg(all in clients(6, 1..=6)) {
        let expected = Federation::new("fedavg", &all).rounds(3);
        for strategy in ["fedprox:mu=0", "fedavgm:rate=1,beta=0", "fedavgm:rate=1,beta=0,nesterov=true"] {
            prop_assert_eq!(&Federation::new(strategy, &all).rounds(3), &expected, "{}", strategy);
        }
    }

    /// Each client has the weights of a federation that it is alone in, and the global weights stay as they are.
    #[test]
    fn a_client_that_trains_alone_is_a_federation_of_one(all in clients(6, 1..=6), rounds in 1..5_usize) {
        let mut local = Federation::new("local", &all);
        let (everyone, initial) = (Vec::from_iter(0..all.len() as u32), local.weights.clone());
        (0..rounds).for_each(|_| drop(local.round(&everyone)));
        for (number, client) in (0..).zip(&all) {
            let expected = Federation::new("fedavg", std::slice::from_ref(client)).rounds(rounds);
            let own = local.states[&number].vector("own").unwrap();
            prop_assert_eq!(own.as_slice(), expected.as_slice(), "client {}", number);
        }
        prop_assert_eq!(local.weights, initial);
    }

    #[test]
    fn one_local_step_of_fedprox_is_that_of_fedavg(all in clients(6, 1..=1), mu in 0.0..50.0_f32) {
        let expected = Federation::new("fedavg", &all).rounds(1);
        let proximal = Federation::new(&format!("fedprox:mu={mu}"), &all).rounds(1);
        prop_assert!(distance(&proximal, &expected) <= 1e-6);
    }

    #[test]
    fn the_first_round_of_scaffold_has_the_bits_of_the_equal_mean(all in clients(6, 1..=6)) {
        let expected = Federation::weighted("fedavg", "equal", &all).rounds(1);
        prop_assert_eq!(Federation::new("scaffold", &all).rounds(1), expected);
    }

    #[test]
    fn fednova_with_equal_accumulations_is_fedavg(all in clients(6, 1..=6), steps in 1..8_u64) {
        let all = with_steps(&all, steps);
        let [nova, average] = ["fednova", "fedavg"].map(|strategy| Federation::new(strategy, &all).rounds(3));
        prop_assert!(distance(&nova, &average) <= 1e-6);
    }

    /// w⁺ = w + 2 · mean(w_k − w) in the first round, and h = (1/N) Σ g_k after each round.
    #[test]
    fn feddyn_doubles_its_first_mean_change_and_has_the_mean_gradient(
        all in clients(6, 1..=6),
        alpha in 0.05..2.0_f64,
    ) {
        let mut federation = Federation::new(&format!("feddyn:alpha={alpha}"), &all);
        let everyone = Vec::from_iter(0..all.len() as u32);
        let start = federation.weights.clone();
        let trained = federation.round(&everyone);
        let centre = mean(&trained, &vec![1.0; all.len()]);
        let doubled: Vec<f32> = start.iter().zip(&centre).map(|(w, m)| w + 2.0 * (m - w)).collect();
        prop_assert!(distance(&federation.weights, &doubled) <= 1e-5);
        for round in 1..6 {
            let gradients: Vec<Vec<f32>> =
                federation.states.values().map(|state| state.vector("g").unwrap().to_vec()).collect();
            let expected = mean(&gradients, &vec![1.0; gradients.len()]);
            let h = federation.server.vector("h").unwrap();
            prop_assert!(distance(h, &expected) <= 1e-5, "round {}", round);
            federation.round(&everyone);
        }
    }

    #[test]
    fn the_weighting_decides_the_mean(all in clients(6, 1..=6)) {
        type Weight = fn(&Client) -> f64;
        let rules: [(&str, Weight); 3] =
            [("examples", |client| client.examples as f64), ("steps", |client| client.steps as f64), ("equal", |_| 1.0)];
        for (weighting, weight) in rules {
            let mut federation = Federation::weighted("fedavg", weighting, &all);
            let trained = federation.round(&Vec::from_iter(0..all.len() as u32));
            let coefficients: Vec<f64> = all.iter().map(weight).collect();
            prop_assert_eq!(&federation.weights, &mean(&trained, &coefficients), "{}", weighting);
        }
    }

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

    /// FedExP with identical changes has the bits of FedAvg, and its step is never shorter than the mean change.
    #[test]
    fn fedexp_extrapolates(all in clients(6, 1..=6)) {
        let same = vec![Client { examples: 1, ..all[0].clone() }; 4];
        prop_assert_eq!(Federation::new("fedexp", &same).rounds(2), Federation::new("fedavg", &same).rounds(2));
        let [step, mean] = [Federation::new("fedexp", &all), Federation::weighted("fedavg", "equal", &all)]
            .map(|federation| norm(&federation.rounds(1).iter().map(|w| w - 0.25).collect::<Vec<_>>()));
        prop_assert!(step >= mean * (1.0 - 1e-6), "{} < {}", step, mean);
    }

    /// A decoded value is one of the two levels around the value, and the frame has the bytes of the payload.
    #[test]
    fn int8_is_off_by_less_than_a_level_and_counts_its_bytes(
        change in prop::collection::vec(-1.0..1.0_f32, 1..40),
        bucket in 1..20_usize,
        round in 1..1000_u64,
    ) {
        let rule: Transforms = format!("int8:bucket={bucket}").parse().unwrap();
        let Carried { change: decoded, bytes, residual } = carried(&rule, &change, &[], round);
        prop_assert_eq!((bytes, residual), (rule.payload(change.len()), None));
        prop_assert_eq!(bytes as usize, change.len() + 4 * change.len().div_ceil(bucket));
        for (values, decoded) in change.chunks(bucket).zip(decoded.chunks(bucket)) {
            let level = values.iter().map(|value| value.abs()).fold(0.0, f32::max) / 127.0;
            prop_assert!(distance(values, decoded) <= f64::from(level) * 1.000_001);
        }
    }

    /// No rounding lifts the norm above the bound. A change within the bound keeps its bits.
    #[test]
    fn a_clipped_change_is_within_its_bound(change in prop::collection::vec(-1e3..1e3_f32, 1..40), bound in 1e-3..1e4_f64) {
        let rule: Transforms = format!("clip:norm={bound}").parse().unwrap();
        let clipped = carried(&rule, &change, &[], 1).change;
        prop_assert!(norm(&clipped) <= bound * (1.0 + 1e-12), "{} > {}", norm(&clipped), bound);
        if norm(&change) <= bound {
            prop_assert_eq!(bits(&clipped), bits(&change));
        } else {
            prop_assert!(norm(&clipped) >= bound * (1.0 - 1e-6), "{} < {}", norm(&clipped), bound);
            prop_assert!(clipped.iter().zip(&change).all(|(now, before)| now * before >= 0.0));
        }
    }

    /// Nothing of the changes is lost: each value of change + residual is either sent or the new residual, as it is.
    #[test]
    fn topk_sends_the_greatest_values_and_keeps_the_rest(
        changes in prop::collection::vec(prop::collection::vec(-1.0..1.0_f32, 17), 1..6),
        fraction in 0.01..1.0_f64,
    ) {
        let rule: Transforms = format!("topk:{fraction}").parse().unwrap();
        let mut residual = vec![0.0; 17];
        for change in &changes {
            let due: Vec<f32> = change.iter().zip(&residual).map(|(value, left)| value + left).collect();
            let Carried { change: sent, bytes, residual: left } = carried(&rule, change, &residual, 1);
            let left = left.unwrap();
            prop_assert!(sent.iter().zip(&left).all(|(sent, left)| *sent == 0.0 || *left == 0.0));
            prop_assert_eq!(&sent.iter().zip(&left).map(|(sent, left)| sent + left).collect::<Vec<_>>(), &due);
            prop_assert_eq!(bytes, 8 * (17.0 * fraction).ceil() as u64);
            let least = sent.iter().map(|value| value.abs()).filter(|value| *value > 0.0).fold(f32::MAX, f32::min);
            prop_assert!(left.iter().all(|value| value.abs() <= least));
            // Stich 2018, definition 2.1.
            prop_assert!(norm(&left).powi(2) <= (1.0 - fraction).max(0.0) * norm(&due).powi(2) * (1.0 + 1e-12));
            residual = left;
        }
    }

    #[test]
    fn topk_of_all_weights_is_no_transform(change in prop::collection::vec(any::<f32>(), 1..40), feedback: bool) {
        let rule: Transforms = format!("topk:fraction=1,feedback={feedback}").parse().unwrap();
        let Carried { change: decoded, residual, .. } = carried(&rule, &change, &[], 1);
        prop_assert_eq!(bits(&decoded), bits(&change));
        prop_assert_eq!(residual, feedback.then(|| vec![0.0; change.len()]));
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

/// Returns the Euclidean norm.
fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A change that came through a frame.
struct Carried {
    change: Vec<f32>,
    /// The bytes of its parts.
    bytes: u64,
    residual: Option<Vec<f32>>,
}

/// Encodes a change, sends it through a frame and decodes it.
fn carried(rule: &Transforms, change: &[f32], residual: &[f32], round: u64) -> Carried {
    let key = Key { seed: 1, purpose: Use::Transform, client: 2, round, epoch: 0 };
    let Encoded { parts: encoded, residual } = rule.encode(change.to_vec(), residual, &key);
    let parts: Vec<_> = encoded.iter().map(|(name, data)| data.as_part(name)).collect();
    let bytes = parts.iter().map(|part| part.bytes().len() as u64).sum();
    let mut frame = Vec::new();
    write(&mut frame, &"", &parts).unwrap();
    let (_, mut parts): (String, Parts) =
        read(&mut frame.as_slice(), fedpipe_protocol::Limits::reply(1 << 20)).unwrap();
    Carried { change: rule.decode(&mut parts, change.len()).unwrap(), bytes, residual }
}

/// c + c-rest = (1/N) Σ c_k over all N clients, also those that were never sampled, whose c_k is 0. The rounding of c
/// to f32 alone is greater than the error which the test allows.
#[test]
fn the_variate_of_the_server_is_the_mean_of_all_clients_with_10_of_100_sampled() {
    let client = |number: u64| {
        let value = |index: u64, period: u64| ((7 * number + 3 * index) % period) as f32 / period as f32;
        let a = (0..SIZE as u64).map(|index| 0.5 + 2.0 * value(index, 11)).collect();
        let b = (0..SIZE as u64).map(|index| 2.0 * value(index, 13) - 1.0).collect();
        Client { a, b, examples: 1 + number, steps: 1 + number % 7, momentum: 0.0 }
    };
    let all = Vec::from_iter((0..100).map(client));
    let mut federation = Federation::new("scaffold", &all);
    for round in 1..=60 {
        let sampled = federation.strategy.sampler.sample(&Draw { seed: 1, round, count: 10, sizes: &[1; 100] });
        federation.round(&sampled);
        let [c, rest] = ["c", "c-rest"].map(|slot| federation.server.vector(slot).unwrap());
        let greatest = c.iter().fold(0.0_f32, |most, c| most.max(c.abs()));
        for (index, (c, rest)) in c.iter().zip(rest.iter()).enumerate() {
            let sum: f64 = federation.states.values().map(|state| f64::from(state.vector("c").unwrap()[index])).sum();
            let error = (f64::from(*c) + f64::from(*rest) - sum / 100.0).abs();
            assert!(error <= 1e-10 * f64::from(greatest), "round {round}, weight {index}: {error:e} of {greatest}");
        }
    }
}

/// The mean of many encodings is the change, within five standard errors.
#[test]
fn int8_is_unbiased() {
    let change = [0.7_f32, -0.31, 1e-3, 0.0, -0.9, 0.123];
    let rule: Transforms = "int8:bucket=4".parse().unwrap();
    const DRAWS: u64 = 4000;
    let draws: Vec<Vec<f32>> = (1..=DRAWS).map(|round| carried(&rule, &change, &[], round).change).collect();
    for (index, value) in change.iter().enumerate() {
        let sum: f64 = draws.iter().map(|decoded| f64::from(decoded[index])).sum();
        let mean = sum / DRAWS as f64;
        let squares: f64 = draws.iter().map(|decoded| (f64::from(decoded[index]) - mean).powi(2)).sum();
        let error = (squares / DRAWS as f64 / DRAWS as f64).sqrt();
        assert!((mean - f64::from(*value)).abs() <= 5.0 * error + 1e-7, "{value}: {mean} ± {error}");
    }
}

/// The optimum is Σ a b / Σ a = 0.75. With K in the place of ‖a‖₁, which is 3 to 5 times K here, the variates diverge.
#[test]
fn scaffold_with_local_momentum_reaches_the_optimum() {
    let client =
        |a: f32, b: f32, steps| Client { a: vec![a; SIZE], b: vec![b; SIZE], examples: 1, steps, momentum: 0.9 };
    let all = [client(0.2, 0.0, 6), client(0.6, 1.0, 12)];
    let weights = Federation::new("scaffold", &all).rounds(60);
    assert!(distance(&weights, &[0.75; SIZE]) < 1e-5, "{weights:?}");
}
