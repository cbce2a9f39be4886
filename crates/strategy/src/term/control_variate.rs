//! Control variates, the client side of SCAFFOLD (Karimireddy 2020, Algorithm 1).
//!
//! The correction c − c_k is added to each gradient inside the solver. Under option I, c_k becomes the gradient over all
//! of the client's examples at the received weights: one step of a phase before, with a whole batch. Under option II it
//! becomes the mean gradient of the local steps. With a momentum ρ the solver moves by ‖a_k‖₁ gradients instead of K, so
//! that ‖a_k‖₁ takes the place of K.

use std::{borrow::Cow, sync::Arc};

use fedpipe_protocol::{Phase, feature};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{ClientTerm, Given, Prepared, sum_of};
use crate::{
    closed_round::{ClosedRound, Returned, clear_unstepped},
    slots::Slots,
    vector_math::Math,
};

pub(crate) const OPTION: Parameter = Parameter {
    key: "option",
    default: Some(Value::Text(Cow::Borrowed("II"))),
    range: Range::Word { of: &["I", "II"], wants: "I or II" },
    help: "c_k is I the gradient over all examples at the received weights, II the mean gradient of the local steps",
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "control-variate",
    summary: "c − c_k is added to each gradient; SCAFFOLD",
    parameters: &[OPTION],
    source: "Karimireddy 2020, Algorithm 1",
    build: |values| Arc::new(ControlVariate { takes_gradient: values.text("option") == "I" }),
};

/// The slot of c at the server and of c_k at a client.
const VARIATE: &str = "c";

/// The slot of what the rounding of c to `f32` leaves. Without it, c and the mean of the c_k would drift apart.
const REST: &str = "c-rest";

#[derive(Debug)]
struct ControlVariate {
    /// `true` for option I.
    takes_gradient: bool,
}

impl ClientTerm for ControlVariate {
    fn features(&self) -> &'static [&'static str] {
        if self.takes_gradient {
            &[feature::LINEAR, feature::PHASES, feature::STEP_LIMIT, feature::PHASE_BATCH]
        } else {
            &[feature::LINEAR]
        }
    }

    /// Option I divides by one step of the local optimiser, which must be that of plain SGD.
    fn needs_accumulation(&self) -> bool {
        true
    }

    fn needs_first_step(&self) -> bool {
        self.takes_gradient
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
        let mut prepared = Prepared::one(given.work.phase(), linear);
        if self.takes_gradient {
            let whole = Phase { steps: Some(1), batch_size: Some(u64::from(u32::MAX)), ..Phase::plain(1) };
            prepared.phases.insert(0, Phase { update: false, ..whole });
        }
        prepared
    }

    /// Option I: c_k⁺ = (w − s) / η with the weights s after one step over all examples. Option II: c_k⁺ = c_k − c +
    /// (w − w_k) / (η ‖a_k‖₁).
    fn accept(&self, given: &Given<'_>, returned: &Returned) -> Slots {
        let Returned { header, weights, slots } = returned;
        if let Some((_, stepped)) = slots.first().filter(|_| self.takes_gradient) {
            let rate = f64::from(given.learning_rate);
            let pairs = given.weights.iter().zip(stepped);
            return kept(pairs.map(|(&w, &s)| ((f64::from(w) - f64::from(s)) / rate) as f32).collect(), given);
        }
        let scale = f64::from(given.learning_rate) * header.accumulation.unwrap_or(header.steps as f64);
        let [server, rest] = [VARIATE, REST].map(|slot| given.server.vector(slot));
        let client = given.client.vector(VARIATE);
        let at = |slot: Option<&Arc<Vec<f32>>>, index: usize| slot.map_or(0.0, |c| f64::from(c[index]));
        let value = |(index, (&w, &moved)): (usize, (&f32, &f32))| {
            let gradient = (f64::from(w) - f64::from(moved)) / scale;
            (at(client, index) - (at(server, index) + at(rest, index)) + gradient) as f32
        };
        kept(given.weights.iter().zip(weights).enumerate().map(value).collect(), given)
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

/// Returns the state of a client with this variate, which has 0 for buffers and local tensors.
fn kept(mut variate: Vec<f32>, given: &Given<'_>) -> Slots {
    clear_unstepped(&mut variate, given.layout);
    let mut after = Slots::default();
    after.set_vector(VARIATE, variate);
    after
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Update;

    use super::*;
    use crate::{
        aggregator::testing::update,
        closed_round::{ClientUpdate, order_key},
        local_work::ClientWork,
        term::testing::{given, layout, linear, returned},
        vector_math::OneCore,
    };

    const OPTION_II: ControlVariate = ControlVariate { takes_gradient: false };

    /// A step over all examples from 1 to 0.75 at η = 0.5 has the gradient 0.5.
    #[test]
    fn option_i_takes_the_gradient_of_a_step_over_all_examples() {
        let layout = layout();
        let given = Given { work: ClientWork::epochs(3), ..given(&layout) };
        let rule = ControlVariate { takes_gradient: true };
        let prepared = rule.prepare(&given);
        let [gradient, trained] = &prepared.phases[..] else { panic!("two phases") };
        assert_eq!((gradient.steps, gradient.update, gradient.linear), (Some(1), false, false));
        assert_eq!((trained, gradient.batch_size), (&Phase::plain(3), Some(u64::from(u32::MAX))));
        let later = rule.prepare(&Given { server: &slots(0.75), client: &slots(0.5), ..given });
        assert_eq!(later.phases.iter().map(|phase| phase.linear).collect::<Vec<_>>(), [false, true]);
        let answer = Returned { slots: vec![(0, vec![0.75; 3])], ..returned(update(0, 1, 4), [9.0; 3]) };
        assert_eq!(rule.accept(&given, &answer), slots(0.5));
    }

    fn slots(c: f32) -> Slots {
        let mut slots = Slots::default();
        slots.set_vector(VARIATE, vec![c, 0.0, 0.0]);
        slots
    }

    #[test]
    fn a_first_request_is_plain_and_a_later_one_has_the_correction() {
        let layout = layout();
        let given = given(&layout);
        assert_eq!(linear(&OPTION_II.prepare(&given)), None);
        let (server, client) = (slots(0.75), slots(0.5));
        let later = OPTION_II.prepare(&Given { server: &server, client: &client, ..given });
        assert_eq!((linear(&later), later.phases[0].linear), (Some(&[0.25, 0.0, 0.0][..]), true));
        let new = OPTION_II.prepare(&Given { server: &server, ..given });
        assert_eq!(linear(&new), Some(&[0.75, 0.0, 0.0][..]));
    }

    #[test]
    fn the_variates_follow_option_ii_and_the_servers_is_their_mean_over_all_clients() {
        let server = slots(0.75);
        let client = slots(0.5);
        let layout = layout();
        let given = Given { server: &server, client: &client, ..given(&layout) };
        // ‖a‖₁ takes the place of the ten steps.
        let header = Update { accumulation: Some(4.0), ..update(0, 1, 10) };
        let after = OPTION_II.accept(&given, &returned(header, [2.0; 3]));
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
        assert_eq!(OPTION_II.settle(&round, vec![2.0; 3], &mut state, &OneCore), [2.0; 3]);
        assert_eq!(state.vector(VARIATE), slots(0.75 - 1.25 / 5.0).vector(VARIATE));
        let exact = 0.75 - 1.25 * (1.0 / 5.0);
        assert_eq!(state.vector(REST).unwrap()[..], [(exact - f64::from(0.5_f32)) as f32, 0.0, 0.0]);
    }
}
