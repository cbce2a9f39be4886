//! Control variates, the client side of SCAFFOLD with option II (Karimireddy 2020, Algorithm 1).
//!
//! The correction c − c_k is added to each gradient inside the solver. With a momentum ρ the solver moves by ‖a_k‖₁
//! gradients instead of K, so that ‖a_k‖₁ takes the place of K.

use std::sync::Arc;

use fedpipe_protocol::feature;
use fedpipe_spec::table::TableRow;

use super::{ClientTerm, Given, Prepared, sum_of};
use crate::{
    closed_round::{ClosedRound, Returned, clear_unstepped},
    slots::Slots,
    vector_math::Math,
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "control-variate",
    summary: "c − c_k is added to each gradient; SCAFFOLD, option II",
    parameters: &[],
    source: "Karimireddy 2020, Algorithm 1",
    build: |_| Arc::new(ControlVariate),
};

/// The slot of c at the server and of c_k at a client.
const VARIATE: &str = "c";

/// The slot of what the rounding of c to `f32` leaves. Without it, c and the mean of the c_k would drift apart.
const REST: &str = "c-rest";

#[derive(Debug)]
struct ControlVariate;

impl ClientTerm for ControlVariate {
    fn features(&self) -> &'static [&'static str] {
        &[feature::LINEAR]
    }

    fn needs_accumulation(&self) -> bool {
        true
    }

    fn needs_equal_mean(&self) -> bool {
        true
    }

    fn server_slots(&self) -> &'static [&'static str] {
        &[VARIATE, REST]
    }

    fn client_slots(&self) -> &'static [&'static str] {
        &[VARIATE]
    }

    /// The correction c − c_k is left out while both are zero.
    fn prepare(&self, given: &Given<'_>) -> Prepared {
        let (server, client) = (given.server.vector(VARIATE), given.client.vector(VARIATE));
        let is_zero = server.is_none() && client.is_none();
        let terms = [(1.0, server), (1.0, given.server.vector(REST)), (-1.0, client)];
        let linear = (!is_zero).then(|| Arc::new(sum_of(given.weights.len(), terms)));
        Prepared::one(given.work.phase(), linear)
    }

    /// c_k⁺ = c_k − c + (w − w_k) / (η ‖a_k‖₁).
    fn accept(&self, given: &Given<'_>, returned: &Returned) -> Slots {
        let Returned { header, weights, .. } = returned;
        let scale = f64::from(given.learning_rate) * header.accumulation.unwrap_or(header.steps as f64);
        let [server, rest] = [VARIATE, REST].map(|slot| given.server.vector(slot));
        let client = given.client.vector(VARIATE);
        let at = |slot: Option<&Arc<Vec<f32>>>, index: usize| slot.map_or(0.0, |c| f64::from(c[index]));
        let value = |(index, (&w, &moved)): (usize, (&f32, &f32))| {
            let gradient = (f64::from(w) - f64::from(moved)) / scale;
            (at(client, index) - (at(server, index) + at(rest, index)) + gradient) as f32
        };
        let mut after = Slots::default();
        let mut variate: Vec<f32> = given.weights.iter().zip(weights).enumerate().map(value).collect();
        clear_unstepped(&mut variate, given.layout);
        after.set_vector(VARIATE, variate);
        after
    }

    /// c ← c + (1/N) Σ_S (c_k⁺ − c_k), with N all clients of the run.
    fn settle(&self, round: &ClosedRound<'_>, moved: Vec<f32>, slots: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let each = 1.0 / f64::from(round.clients);
        let held = [VARIATE, REST].into_iter().filter_map(|slot| slots.vector(slot)).map(|c| (1.0, c.as_slice()));
        let after =
            round.updates.iter().filter_map(|update| update.after.vector(VARIATE)).map(|c| (each, c.as_slice()));
        let before =
            round.updates.iter().filter_map(|update| update.before.vector(VARIATE)).map(|c| (-each, c.as_slice()));
        let mut members: Vec<_> = held.chain(after).chain(before).collect();
        let variate = math.combine(&members, 1.0);
        members.push((-1.0, &variate));
        let rest = math.combine(&members, 1.0);
        slots.set_vector(VARIATE, variate);
        slots.set_vector(REST, rest);
        moved
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Update;

    use super::*;
    use crate::{
        aggregator::testing::update,
        closed_round::{ClientUpdate, order_key},
        local_work::ClientWork,
        term::testing::{layout, linear, returned},
        vector_math::OneCore,
    };

    fn slots(c: f32) -> Slots {
        let mut slots = Slots::default();
        slots.set_vector(VARIATE, vec![c, 0.0, 0.0]);
        slots
    }

    #[test]
    fn a_first_request_is_plain_and_a_later_one_has_the_correction() {
        let none = Slots::default();
        let layout = layout();
        let given = Given {
            weights: &[1.0; 3],
            server: &none,
            client: &none,
            work: ClientWork::epochs(1),
            learning_rate: 0.5,
            layout: &layout,
        };
        assert_eq!(linear(&ControlVariate.prepare(&given)), None);
        let (server, client) = (slots(0.75), slots(0.5));
        let later = ControlVariate.prepare(&Given { server: &server, client: &client, ..given });
        assert_eq!((linear(&later), later.phases[0].linear), (Some(&[0.25, 0.0, 0.0][..]), true));
        let new = ControlVariate.prepare(&Given { server: &server, ..given });
        assert_eq!(linear(&new), Some(&[0.75, 0.0, 0.0][..]));
    }

    #[test]
    fn the_variates_follow_option_ii_and_the_servers_is_their_mean_over_all_clients() {
        let server = slots(0.75);
        let client = slots(0.5);
        let layout = layout();
        let given = Given {
            weights: &[1.0; 3],
            server: &server,
            client: &client,
            work: ClientWork::epochs(1),
            learning_rate: 0.5,
            layout: &layout,
        };
        // ‖a‖₁ takes the place of the ten steps.
        let header = Update { accumulation: Some(4.0), ..update(0, 1, 10) };
        let after = ControlVariate.accept(&given, &returned(header, [2.0; 3]));
        // 0.5 − 0.75 + (1 − 2) / (0.5 · 4)
        assert_eq!(after, slots(-0.75));
        let accepted = ClientUpdate { before: client, after, ..ClientUpdate::new(update(0, 1, 4), vec![2.0; 3]) };
        let round = ClosedRound {
            received: &[1.0; 3],
            updates: &mut [accepted],
            clients: 5,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        };
        let mut state = server.clone();
        assert_eq!(ControlVariate.settle(&round, vec![2.0; 3], &mut state, &OneCore), [2.0; 3]);
        assert_eq!(state.vector(VARIATE), slots(0.75 - 1.25 / 5.0).vector(VARIATE));
        let exact = 0.75 - 1.25 * (1.0 / 5.0);
        assert_eq!(state.vector(REST).unwrap()[..], [(exact - f64::from(0.5_f32)) as f32, 0.0, 0.0]);
    }
}
