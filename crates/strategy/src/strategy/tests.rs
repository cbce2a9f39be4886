//! Tests of a composition: its steps, slots, texts and limits.

use fedpipe_protocol::{Layout, Tensor, Update};

use super::*;
use crate::{
    aggregator::{Aggregator, testing::update},
    closed_round::{Returned, order_key},
    preset::testing::every_row,
    range::GREATEST_OF_A_CLIENT,
    term::{Given, testing},
    vector_math::OneCore,
    vectors::written_weights,
};

fn layout(length: usize) -> Layout {
    let tensor = Tensor { name: "w".into(), shape: vec![length], kind: Kind::Param, place: Place::Shared };
    Layout::new(vec![tensor]).unwrap()
}

fn apply(strategy: &Strategy, state: &Slots, received: &[f32], weights: &[f32]) -> Result<(Vec<f32>, Slots), Overflow> {
    let layout = layout(received.len());
    let none = Slots::default();
    let given = given(received, state, &none, &layout);
    let mut updates = [accepted(strategy, &given, update(0, 1, 1), weights.to_vec())];
    strategy.apply(
        ClosedRound {
            received,
            updates: &mut updates,
            clients: 1,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        },
        state,
        &OneCore,
    )
}

fn step(strategy: &str, received: &[f32], weights: &[f32]) -> Result<Vec<f32>, String> {
    let moved = apply(&strategy.parse().unwrap(), &Slots::default(), received, weights);
    moved.map(|(moved, _)| moved).map_err(|overflow| overflow.to_string())
}

/// The mean of a round may be as great as any client's update, and change its sign with the momentum's own period.
#[test]
fn no_updates_that_are_taken_overflow_a_usual_server() {
    for strategy in ["fedavgm", "fedavgm:nesterov=true", "fedadam", "fedadagrad", "fedyogi", "fedexp"] {
        let strategy: Strategy = strategy.parse().unwrap();
        for period in 1..12 {
            let (mut state, mut weights) = (Slots::default(), vec![0.0]);
            for round in 0..300 {
                let sign = if round / period % 2 == 0 { 1.0 } else { -1.0 };
                let moved = apply(&strategy, &state, &weights, &[sign * GREATEST_OF_A_CLIENT]);
                (weights, state) =
                    moved.unwrap_or_else(|error| panic!("{strategy}, period {period}, round {round}: {error}"));
            }
        }
    }
}

#[test]
fn the_servers_own_overflow_is_an_error_that_names_its_parameter() {
    let greatest = [GREATEST, -GREATEST];
    assert_eq!(step("fedavg", &[0.0; 2], &greatest).unwrap(), greatest);
    let cases = [
        ("fedadam:rate=1e30", "moved weight 1 to ", "a lower rate"),
        ("fedavgm:rate=1e30", "moved weight 1 to 1e30", "a lower rate"),
    ];
    for (strategy, moved, remedy) in cases {
        let why = step(strategy, &[0.0; 2], &[0.0, 1.0]).unwrap_err();
        assert!(why.contains(moved) && why.contains(remedy), "{strategy}: {why}");
    }
    let why = step("fedadam:beta2=0", &greatest, &[-GREATEST, GREATEST]).unwrap_err();
    assert!(why.contains("the state \"v\" of weight 0 to inf"), "{why}");
    let why = step("fedavgm:beta=0.9,nesterov=true", &greatest, &[-GREATEST, GREATEST]).unwrap_err();
    assert!(why.contains("moved weight 0 to -"), "{why}");
}

#[test]
fn a_mean_that_a_host_has_added_itself_moves_the_weights_as_the_updates_do() {
    let [first, second] = [[0.25_f32, -7.5], [0.5, 1e-20]];
    let mut updates =
        [(update(0, 3, 1), first), (update(1, 5, 2), second)].map(|(header, w)| ClientUpdate::new(header, w.to_vec()));
    let (layout, none, received) = (layout(2), Slots::default(), &[1.0, 2.0]);
    for text in ["fedavg", "fedavgm", "fedadam", "fedprox:0.1"] {
        let strategy: Strategy = text.parse().unwrap();
        assert!(strategy.needs_only_mean(), "{text}");
        let closed = |updates| ClosedRound {
            received,
            updates,
            clients: 2,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        };
        let mean = OneCore.combine(&[(3.0, &first), (5.0, &second)], 8.0);
        let added = strategy.apply_aggregate(closed(&mut []), &mean, &none, &OneCore);
        assert_eq!(added, strategy.apply(closed(&mut updates), &none, &OneCore), "{text}");
    }
    for text in ["scaffold", "feddyn:0.1", "fednova", "fedexp"] {
        assert!(!text.parse::<Strategy>().unwrap().needs_only_mean(), "{text}");
    }
}

/// Two rounds from the means of the README, so that the second depends on the state.
#[test]
fn strategies_move_the_weights_to_those_of_the_readme_to_the_bit() {
    for text in [
        "fedavg",
        "fedavgm",
        "fedavgm:rate=0.5,beta=0.7,nesterov=true",
        "fedadam",
        "fedadam:rate=0.1,beta1=0.8,beta2=0.95,tau=0.01",
    ] {
        let strategy: Strategy = text.parse().unwrap();
        let (mut weights, mut state) = (vec![1.0, -0.5, 0.3], Slots::default());
        for mean in ["mean of round 1", "mean of round 2"].map(written_weights) {
            (weights, state) = apply(&strategy, &state, &weights, &mean).unwrap();
        }
        assert_eq!(weights, written_weights(&format!("weights after `{text}`")), "{text}");
    }
}

#[test]
fn buffers_take_the_aggregate_and_local_tensors_keep_their_values() {
    let tensor = |name: &str, kind, place| Tensor { name: name.into(), shape: vec![1], kind, place };
    let tensors = vec![
        tensor("w", Kind::Param, Place::Shared),
        tensor("mean", Kind::Buffer, Place::Shared),
        tensor("head", Kind::Param, Place::Local),
    ];
    let (layout, mut updates) = (Layout::new(tensors).unwrap(), [ClientUpdate::new(update(0, 1, 1), vec![3.0; 3])]);
    let round = ClosedRound {
        received: &[1.0; 3],
        updates: &mut updates,
        clients: 1,
        learning_rate: 0.1,
        layout: &layout,
        key: order_key(1, 1),
    };
    let strategy: Strategy = "fedavgm:rate=0.5".parse().unwrap();
    assert_eq!(strategy.apply(round, &Slots::default(), &OneCore).unwrap().0, [2.0, 3.0, 1.0]);
}

/// Returns an update of a client, with its first state after it.
fn accepted(strategy: &Strategy, given: &Given<'_>, header: Update, weights: Vec<f32>) -> ClientUpdate {
    let returned = Returned { header, weights, slots: Vec::new() };
    let after = strategy.term.accept(given, &returned);
    ClientUpdate { after, ..ClientUpdate::new(returned.header, returned.weights) }
}

/// Returns the facts about a client without state.
fn given<'g>(weights: &'g [f32], server: &'g Slots, client: &'g Slots, layout: &'g Layout) -> Given<'g> {
    Given { weights, server, client, learning_rate: 0.1, ..testing::given(layout) }
}

/// The state of the last of five rounds, in which the one parameter has the same changes. Buffers and local tensors
/// change in the rounds with `others`.
fn state_of_rounds(strategy: &Strategy, others: bool) -> Slots {
    let (layout, none, mut state) = (testing::layout(), Slots::default(), Slots::default());
    let mut received = vec![1.0, 2.0, 3.0];
    for round in 1..=5_u16 {
        let change = f32::from(round) * 0.1;
        let mut updates = [0, 1, 2].map(|client| {
            let by = change * (client + 1) as f32;
            let other = if others { 7.0 * by } else { 0.0 };
            let weights = vec![received[0] + by, received[1] + other, received[2] - other];
            accepted(
                strategy,
                &given(&received, &state, &none, &layout),
                update(client, 1 + u64::from(client), 2),
                weights,
            )
        });
        let closed = ClosedRound {
            received: &received,
            updates: &mut updates,
            clients: 5,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        };
        (received, state) = strategy.apply(closed, &state, &OneCore).unwrap();
    }
    state
}

#[test]
fn no_slot_has_a_part_for_the_changes_of_buffers_and_local_tensors() {
    for text in ["fedavgm", "fedadam", "fedyogi", "fedadagrad", "scaffold", "feddyn:0.1", "fednova"] {
        let strategy: Strategy = text.parse().unwrap();
        let state = state_of_rounds(&strategy, true);
        assert_eq!(state, state_of_rounds(&strategy, false), "{text}");
        let stateless = text == "fednova";
        assert_eq!(state.is_empty(), stateless, "{text}");
        // The second moment begins at τ².
        let moments = state.iter().filter(|(name, _)| !name.ends_with('v'));
        for (name, slot) in moments {
            let Slot::F32(values) = slot else { panic!("{text}: {slot:?}") };
            assert!(values[0] != 0.0 && values[1..] == [0.0; 2], "{text}, {name}: {values:?}");
        }
    }
}

#[test]
fn a_strategy_neither_reads_nor_keeps_the_slots_of_other_rows() {
    let strategies: Vec<Strategy> = ["fedavg", "fedavgm", "fedadam", "fedyogi", "fedadagrad", "scaffold", "feddyn:0.1"]
        .map(|text| text.parse().unwrap())
        .into();
    // A negative velocity would have no root as the second moment of Adam.
    let round = |strategy: &Strategy, state: &Slots| apply(strategy, state, &[1.0], &[0.5]).unwrap();
    for (one, other) in strategies.iter().flat_map(|one| strategies.iter().map(move |other| (one, other))) {
        let (_, state) = round(one, &Slots::default());
        let expected = if one == other { round(other, &state) } else { round(other, &Slots::default()) };
        assert_eq!(round(other, &state), expected, "{one}, then {other}");
    }
}

#[test]
fn each_slot_of_the_server_belongs_to_one_row() {
    let (servers, terms) = (every_row::<dyn ServerOptimiser>(), every_row::<dyn ClientTerm>());
    let aggregators = every_row::<dyn Aggregator>();
    let of_servers = servers.iter().flat_map(|server| server.slots());
    let of_aggregators = aggregators.iter().flat_map(|aggregator| aggregator.slots());
    let of_terms = terms.iter().flat_map(|term| term.server_slots());
    let mut names: Vec<&str> = of_servers.chain(of_aggregators).chain(of_terms).copied().collect();
    names.sort_unstable();
    let expected = "adagrad-m adagrad-v c c-rest centre h m output step v velocity yogi-m yogi-step yogi-v"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(names, expected);
}

#[test]
fn a_buffer_takes_a_mean_whatever_the_steps_of_the_clients() {
    let tensor = |name: &str, kind| Tensor { name: name.into(), shape: vec![1], kind, place: Place::Shared };
    let layout = Layout::new(vec![tensor("w", Kind::Param), tensor("variance", Kind::Buffer)]).unwrap();
    let mut updates = [(update(0, 1, 2), vec![2.0, 1.0]), (update(1, 1, 64), vec![2.0, 2.0])]
        .map(|(header, weights)| ClientUpdate::new(header, weights));
    let round = ClosedRound {
        received: &[1.0, 9.0],
        updates: &mut updates,
        clients: 2,
        learning_rate: 0.1,
        layout: &layout,
        key: order_key(1, 1),
    };
    let moved = "fednova".parse::<Strategy>().unwrap().apply(round, &Slots::default(), &OneCore).unwrap().0;
    assert!(moved[0] > 2.0 && moved[1] == 1.5, "{moved:?}");
}

#[test]
fn every_strategy_survives_its_texts_and_says_which_rows_it_replaces() {
    for text in ["fedavg", "fedavgm:beta=0.5,nesterov=true", "fedadam:rate=0.1,tau=0.01", "fedprox:0.1"] {
        let strategy: Strategy = text.parse().unwrap();
        assert_eq!(strategy.to_string().parse::<Strategy>().unwrap(), strategy, "{text}");
        assert_eq!(Strategy::from(StrategyRows::from(strategy.clone())), strategy, "{text}");
    }
    let strategy = StrategyRows::read("fedprox:0.1", &[("aggregate", "median"), ("server", "adam")]);
    assert_eq!(
        strategy.to_string(),
        "fedprox:mu=0.1 with the weighting equal, the aggregator median, the server optimiser \
         adam:rate=0.01,beta1=0.9,beta2=0.99,tau=0.001,v0=tau^2,bias-correction=false"
    );
    assert_eq!((strategy.term.name(), strategy.features()), ("proximal", vec!["proximal".to_owned()]));
}

#[test]
fn identical_updates_aggregate_to_themselves() {
    let weights = [0.1_f32, -7.5, 1e-20];
    for (key, row) in [
        ("server", "sgd"),
        ("weighting", "equal"),
        ("server", "momentum:beta=0"),
        ("server", "extrapolation"),
        ("aggregate", "median"),
        ("aggregate", "trimmed-mean:f=1"),
        ("aggregate", "krum:0"),
        ("aggregate", "multi-krum:0"),
        ("aggregate", "bulyan:0"),
        ("aggregate", "norm-bounding:1e9"),
        ("aggregate", "centred-clipping:1e9"),
        ("aggregate", "nnm+krum:0"),
        ("aggregate", "bucketing:2+median"),
    ] {
        let strategy = StrategyRows::read("fedavg", &[(key, row)]);
        let mut updates = [update(0, 3, 1), update(1, 5, 2), update(2, 7, 3)]
            .map(|header| ClientUpdate::new(header, weights.to_vec()));
        let layout = layout(3);
        let round = ClosedRound {
            received: &[9.0; 3],
            updates: &mut updates,
            clients: 3,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        };
        assert_eq!(strategy.apply(round, &Slots::default(), &OneCore).unwrap().0, weights, "{key} {row}");
    }
}
