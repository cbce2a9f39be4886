//! Personal methods: what their requests lead to, against `independent.csv` and as properties. The federations are of
//! quadratics with a coupling, ½ Σ a (w − b)² + ½ c (Σ w)², whose steps are computed here in `f64`.
#![allow(clippy::unwrap_used, reason = "a test that cannot continue has failed")]

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use fedpipe_protocol::{Kind, LOCAL, Layout, Phase, PhaseStart, Place, Tensor, Update, with_local};
use fedpipe_strategy::{
    closed_round::{ClientUpdate, ClosedRound, Returned, order_key},
    local_work::ClientWork,
    slots::Slots,
    strategy::{Strategy, StrategyRows},
    term::{Given, Prepared},
    vector_math::OneCore,
};
use proptest::{prelude::*, strategy::Strategy as Arbitrary_};

const RATE: f32 = 0.1;
const SIZE: usize = 5;
const BUFFER: usize = 3;
const EXAMPLES: [u64; 3] = [3, 5, 2];

/// A client: its curvatures, targets and coupling.
#[derive(Debug, Clone)]
struct Client {
    a: Vec<f64>,
    b: Vec<f64>,
    c: f64,
}

/// The number of steps that the buffer counts is in the place of its gradient.
fn model() -> Layout {
    let tensor = |name: &str, size, kind| Tensor { name: name.into(), shape: vec![size], kind, place: Place::Shared };
    let tensors = vec![
        tensor("body.weight", 2, Kind::Param),
        tensor("norm.scale", 1, Kind::Param),
        tensor("norm.mean", 1, Kind::Buffer),
        tensor("head.weight", 1, Kind::Param),
    ];
    Layout::new(tensors).unwrap()
}

impl Client {
    /// Returns the weights after a phase of as many steps as epochs.
    fn phase(&self, start: &[f32], phase: &Phase, received: &[f32], layout: &Layout) -> Vec<f32> {
        let mut moves = [true; SIZE];
        let frozen = layout.ranges().filter(|(tensor, _)| phase.frozen.contains(&tensor.name));
        frozen.for_each(|(_, range)| moves[range].fill(false));
        let mut w: Vec<f64> = start.iter().copied().map(f64::from).collect();
        for _ in 0..phase.epochs {
            let sum: f64 = (0..SIZE).filter(|&index| index != BUFFER).map(|index| w[index]).sum();
            for index in (0..SIZE).filter(|&index| moves[index]) {
                let pull = f64::from(phase.proximal) * (w[index] - f64::from(received[index]));
                let gradient = self.a[index] * (w[index] - self.b[index]) + self.c * sum + pull;
                w[index] = if index == BUFFER { w[index] + 1.0 } else { w[index] - 0.1 * gradient };
            }
        }
        w.into_iter().map(|value| value as f32).collect()
    }

    /// Returns the weights after the phases of a request: those of the update, and of each other phase.
    fn train(&self, received: &[f32], Prepared { phases, parts }: &Prepared, layout: &Layout) -> Returned {
        let (mut weights, mut slots, mut update) = (received.to_vec(), Vec::new(), Vec::new());
        for (index, phase) in phases.iter().enumerate() {
            let slot = || parts.iter().find(|(name, _)| *name == format!("start/{index}")).unwrap().1.to_vec();
            weights = match phase.start {
                PhaseStart::Received => received.to_vec(),
                PhaseStart::Previous => weights,
                PhaseStart::Slot => slot(),
            };
            weights = self.phase(&weights, phase, received, layout);
            if phase.update { update.clone_from(&weights) } else { slots.push((index, weights.clone())) }
        }
        Returned { header: Update::plain(0, 1, 1), weights: update, slots }
    }
}

/// A federation under a strategy, as a host runs it.
struct Federation<'c> {
    strategy: Strategy,
    all: &'c [Client],
    layout: Layout,
    initial: Arc<Vec<f32>>,
    weights: Vec<f32>,
    states: BTreeMap<usize, Slots>,
}

impl<'c> Federation<'c> {
    fn of(strategy: Strategy, all: &'c [Client], start: Vec<f32>) -> Self {
        let local = strategy.term.local_tensors(&model()).unwrap();
        let place = |tensor: &Tensor| if local.contains(&tensor.name) { Place::Local } else { Place::Shared };
        let tensors = model().tensors().iter().map(|of| Tensor { place: place(of), ..of.clone() }).collect();
        let (layout, weights) = (Layout::new(tensors).unwrap(), start.clone());
        Self { strategy, all, layout, initial: Arc::new(start), weights, states: BTreeMap::new() }
    }

    fn local(&self) -> impl Iterator<Item = Range<usize>> {
        self.layout.local_ranges()
    }

    fn state(&self, client: usize) -> Slots {
        self.states.get(&client).cloned().unwrap_or_default()
    }

    /// Returns the global weights with the own values of a client.
    fn start(&self, client: usize) -> Vec<f32> {
        let state = self.state(client);
        let own = state.vector(LOCAL).map_or(&[][..], |own| own);
        with_local(&self.weights, own, self.local()).into_owned()
    }

    fn round(&mut self, sampled: &[usize]) {
        let train = |&client: &usize| {
            let (before, start) = (self.state(client), self.start(client));
            let server = Slots::default();
            let given = Given {
                weights: &start,
                server: &server,
                client: &before,
                initial: &self.initial,
                work: ClientWork::epochs(2),
                learning_rate: RATE,
                layout: &self.layout,
            };
            let prepared = self.strategy.term.prepare(&given);
            let mut returned = self.all[client].train(&start, &prepared, &self.layout);
            returned.header = Update::plain(client as u32, 1, EXAMPLES[client]);
            let mut after = self.strategy.term.accept(&given, &returned);
            let own = self.local().flat_map(|range| returned.weights[range].to_vec()).collect();
            after.set_vector(LOCAL, own);
            let mut weights = returned.weights;
            self.local().for_each(|range| weights[range.clone()].copy_from_slice(&self.weights[range]));
            ClientUpdate { before, after, ..ClientUpdate::new(returned.header, weights) }
        };
        let mut updates: Vec<ClientUpdate> = sampled.iter().map(train).collect();
        let (clients, key) = (self.all.len() as u32, order_key(1, 1));
        let (received, layout) = (&self.weights[..], &self.layout);
        let round = ClosedRound { received, updates: &mut updates, clients, learning_rate: RATE, layout, key };
        self.weights = self.strategy.apply(round, &Slots::default(), &OneCore).unwrap().0;
        updates.into_iter().for_each(|update| drop(self.states.insert(update.header.client as usize, update.after)));
    }

    /// Returns the own model of a client, after so many epochs of fine-tuning.
    fn own_model(&self, client: usize, epochs: u64) -> Vec<f32> {
        let term = &self.strategy.term;
        let held = term.own_model().and_then(|slot| self.state(client).vector(slot).map(|own| own.to_vec()));
        let start = held.unwrap_or_else(|| self.start(client));
        self.all[client].phase(&start, &term.fine_tuning(epochs, &self.layout), &start, &self.layout)
    }
}

#[test]
fn each_personal_method_has_the_values_of_an_independent_computation() {
    let lines = include_str!("../independent.csv").lines();
    let lines = lines.filter_map(|line| line.strip_prefix("personal ")?.split_once(';'));
    let mut lines =
        lines.map(|(name, row)| (name, row.split(' ').map(|value| value.parse().unwrap()).collect::<Vec<f64>>()));
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
    let start = narrow(lines.next().unwrap().1);
    let client = |(_, row): (&str, Vec<f64>)| Client { a: row[..5].to_vec(), b: row[5..10].to_vec(), c: row[10] };
    let all: Vec<Client> = lines.by_ref().take(3).map(client).collect();
    let mut count = 0;
    for (name, expected) in lines {
        let mut federation = Federation::of(name.parse().unwrap(), &all, start.clone());
        (0..3).for_each(|_| federation.round(&[0, 1, 2]));
        let epochs = if name == "fedbabu" { 3 } else { 0 };
        let own = (0..3).flat_map(|client| federation.own_model(client, epochs));
        let ours: Vec<f32> = federation.weights.iter().copied().chain(own).collect();
        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= 1e-6 * b.abs().max(1.0);
        assert!(
            ours.len() == expected.len() && ours.iter().zip(&expected).all(near),
            "{name}: {ours:?}, not {expected:?}"
        );
        count += 1;
    }
    assert_eq!(count, 8);
}

fn client() -> impl Arbitrary_<Value = Client> {
    let values = |range| prop::collection::vec(range, SIZE);
    (values(0.1..2.0), values(-2.0..2.0), 0.0..0.5).prop_map(|(a, b, c)| Client { a, b, c })
}

fn federation() -> impl Arbitrary_<Value = (Vec<Client>, Vec<f32>)> {
    (prop::collection::vec(client(), 3), prop::collection::vec(-2.0_f32..2.0, SIZE))
}

/// Returns a preset with this weighting.
fn weighted(name: &str, weighting: &str) -> Strategy {
    let weighting = Some(weighting.parse().unwrap());
    StrategyRows { name: name.parse().unwrap(), weighting, ..StrategyRows::default() }.into()
}

/// Returns a federation after rounds in which not all clients take part.
fn sampled<'c>(strategy: Strategy, (all, start): &'c (Vec<Client>, Vec<f32>)) -> Federation<'c> {
    let mut federation = Federation::of(strategy, all, start.clone());
    [[0, 1], [1, 2], [0, 2], [1, 2]].iter().for_each(|sampled| federation.round(sampled));
    federation
}

proptest! {
    /// The global weights never see the own models, whatever pulls these.
    #[test]
    fn dittos_global_weights_are_fedavgs_to_the_bit(federation in federation(), lambda in 0.0..2.0) {
        let ditto = sampled(weighted(&format!("ditto:{lambda}"), "equal"), &federation);
        prop_assert_eq!(ditto.weights, sampled(weighted("fedavg", "equal"), &federation).weights);
    }

    /// Client 2 begins with the initial weights in round 2, too: it has missed a round.
    #[test]
    fn ditto_without_a_pull_is_local_training(federation in federation()) {
        let ditto = sampled("ditto:0".parse().unwrap(), &federation);
        for (client, rounds) in [(0, 2), (1, 3), (2, 3)] {
            let step = |w: Vec<f32>, _| federation.0[client].phase(&w, &Phase::plain(2), &w, &model());
            prop_assert_eq!(ditto.own_model(client, 0), (0..rounds).fold(federation.1.clone(), step));
        }
    }

    #[test]
    fn methods_with_an_empty_head_are_fedavg_to_the_bit(federation in federation(), epochs in 0_u32..4) {
        let fedavg = sampled(weighted("fedavg", "examples"), &federation).weights;
        for name in ["fedper:0".to_owned(), format!("fedrep:head=0,head-epochs={epochs}"), "fedbabu:0".to_owned()] {
            let method = sampled(weighted(&name, "examples"), &federation);
            prop_assert_eq!(&method.weights, &fedavg, "{}", name);
            prop_assert!(method.states.values().all(|state| state.vector(LOCAL).is_none()));
        }
    }

    /// The global value of what stays with the clients, and that of a frozen head, is the initial one.
    #[test]
    fn tensors_that_are_not_shared_keep_their_initial_global_value(federation in federation()) {
        let kept: [(&str, &[usize]); 5] = [
            ("fedper", &[4]), ("fedrep", &[4]), ("fedbn", &[2, 3]), ("lg-fedavg", &[0, 1, 2, 3]), ("fedbabu", &[4]),
        ];
        for (name, places) in kept {
            let weights = sampled(name.parse().unwrap(), &federation).weights;
            let stays = |index: &usize| weights[*index].to_bits() == federation.1[*index].to_bits();
            prop_assert!(places.iter().all(stays), "{}: {:?}", name, weights);
        }
    }

    /// FedPer and LG-FedAvg split the model at the same place, so that one shares what the other keeps.
    #[test]
    fn what_fedper_keeps_lg_fedavg_shares(head in prop::sample::select(vec!["1", "2", "norm", "body+head"])) {
        let of = |name: &str| -> Vec<String> {
            let strategy: Strategy = format!("{name}:head={head}").parse().unwrap();
            strategy.term.local_tensors(&model()).unwrap()
        };
        let mut both = [of("fedper"), of("lg-fedavg")].concat();
        both.sort_unstable();
        prop_assert_eq!(both, ["body.weight", "head.weight", "norm.mean", "norm.scale"]);
    }
}
