//! The test vectors of the README, which `vectors.py` prints without this crate.

/// Returns the value of a vector.
pub(crate) fn written(name: &str) -> &'static str {
    let prefix = format!("| {name} | ");
    let row = include_str!("../README.md").lines().find_map(|line| line.strip_prefix(&prefix));
    row.unwrap_or_else(|| panic!("the README has no vector {name:?}")).trim_end_matches(" |")
}

/// Returns the numbers of a vector. Nine digits name an f32.
pub(crate) fn written_weights(name: &str) -> Vec<f32> {
    written(name).split(' ').map(|value| value.parse().unwrap()).collect()
}

mod tests {
    use fedpipe_protocol::{Kind, Layout, Place, Tensor, Update};

    use super::*;
    use crate::{
        closed_round::{ClientUpdate, ClosedRound, order_key},
        slots::Slots,
        strategy::{Strategy, StrategyRows},
        term::{
            Given,
            testing::{given, linear, returned},
        },
        vector_math::OneCore,
    };

    /// The two rounds of the README: the client, the examples and the weights of each update.
    const ROUNDS: [&[(u32, u64, [f32; 3])]; 2] = [
        &[(0, 3, [1.5, -0.25, 0.7]), (1, 5, [0.5, -0.75, 0.1]), (2, 2, [2.0, 0.0, -0.3])],
        &[(0, 3, [1.0, -1.0, 0.2]), (2, 2, [0.5, 0.5, 0.4])],
    ];
    const STEPS: [u64; 3] = [2, 4, 8];

    /// The weights, the state of the server and those of the three clients.
    struct State {
        weights: Vec<f32>,
        server: Slots,
        clients: [Slots; 3],
    }

    /// Does a round of the README.
    fn apply(strategy: &Strategy, state: &mut State, round: &[(u32, u64, [f32; 3])]) {
        let State { weights: received, server, clients } = &*state;
        let layout = layout();
        let accepted = |&(client, examples, weights): &(u32, u64, [f32; 3])| {
            let (before, steps) = (&clients[client as usize], STEPS[client as usize]);
            let header = Update { steps, accumulation: Some(steps as f64), ..Update::plain(client, 1, examples) };
            let given = Given { weights: received, server, client: before, learning_rate: 0.1, ..given(&layout) };
            let returned = returned(header, weights);
            let (before, after) = (before.clone(), strategy.term.accept(&given, &returned));
            ClientUpdate { before, after, ..ClientUpdate::new(returned.header, returned.weights) }
        };
        let mut updates: Vec<_> = round.iter().map(accepted).collect();
        let closed = ClosedRound {
            received,
            updates: &mut updates,
            clients: 3,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        };
        let (weights, moved) = strategy.apply(closed, server, &OneCore).unwrap();
        (state.weights, state.server) = (weights, moved);
        updates.into_iter().for_each(|update| state.clients[update.header.client as usize] = update.after);
    }

    /// Returns the layout of three weights.
    fn layout() -> Layout {
        let tensor = Tensor { name: "w".into(), shape: vec![3], kind: Kind::Param, place: Place::Shared };
        Layout::new(vec![tensor]).unwrap()
    }

    /// Returns the state after so many rounds.
    fn after(strategy: &Strategy, rounds: usize) -> State {
        let mut state = State { weights: vec![1.0, -0.5, 0.3], server: Slots::default(), clients: Default::default() };
        ROUNDS[..rounds].iter().for_each(|round| apply(strategy, &mut state, round));
        state
    }

    #[test]
    fn each_row_of_a_strategy_has_the_values_of_the_readme_to_the_bit() {
        let median = after(&StrategyRows::read("fedavg", &[("aggregate", "median")]), 2);
        assert_eq!(median.weights, written_weights("weights after `median`"));
        let nova = after(&StrategyRows::read("fednova", &[]), 2);
        assert_eq!(nova.weights, written_weights("weights after `fednova`"));
        for weighting in ["steps", "equal"] {
            let mean = after(&StrategyRows::read("fedavg", &[("weighting", weighting)]), 1);
            assert_eq!(mean.weights, written_weights(&format!("mean of round 1, weighting `{weighting}`")));
        }
    }

    #[test]
    fn scaffold_has_the_values_of_the_readme_to_the_bit() {
        let state = after(&StrategyRows::read("scaffold", &[]), 2);
        assert_eq!(state.weights, written_weights("weights after `scaffold`"));
        assert_eq!(state.server.vector("c").unwrap()[..], written_weights("c after `scaffold`"));
        assert_eq!(state.clients[0].vector("c").unwrap()[..], written_weights("c of client 0 after `scaffold`"));
        let State { weights, server, clients } = &state;
        let layout = layout();
        let given = Given { weights, server, client: &clients[0], learning_rate: 0.1, ..given(&layout) };
        let term = "scaffold".parse::<Strategy>().unwrap().term.prepare(&given);
        assert_eq!(linear(&term).unwrap(), written_weights("c − c of client 0 after `scaffold`"));
    }

    #[test]
    fn feddyn_has_the_values_of_the_readme_to_the_bit() {
        let state = after(&StrategyRows::read("feddyn:alpha=0.5", &[]), 2);
        assert_eq!(state.weights, written_weights("weights after `feddyn:alpha=0.5`"));
        assert_eq!(state.server.vector("h").unwrap()[..], written_weights("h after `feddyn:alpha=0.5`"));
        assert_eq!(
            state.clients[0].vector("g").unwrap()[..],
            written_weights("g of client 0 after `feddyn:alpha=0.5`")
        );
    }
}
