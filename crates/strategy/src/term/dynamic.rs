//! Dynamic regularisation, FedDyn (Acar 2021, Algorithm 1).
//!
//! A client minimises f_k(w) − ⟨g_k, w⟩ + α/2 ‖w − w_received‖². The server's weights are the equal mean less h/α; the
//! run evaluates those weights.

use std::sync::Arc;

use fedpipe_protocol::{Phase, feature};
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{ClientTerm, Given, Prepared};
use crate::{
    closed_round::{ClosedRound, Returned, clear_unstepped},
    slots::Slots,
    vector_math::{Math, length},
};

pub(crate) const ALPHA: Parameter = Parameter {
    key: "alpha",
    default: None,
    range: Range::Positive,
    help: "α, the strength of the regularisation; common are 0.01 to 0.1",
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "dynamic",
    summary: "−⟨g_k, w⟩ + α/2 ‖w − w_received‖² is added to the loss; FedDyn",
    parameters: &[ALPHA],
    source: "Acar 2021, Algorithm 1",
    build: |values| Arc::new(Dynamic { alpha: values.number("alpha") }),
};

/// The slot of the gradient g_k at a client.
const GRADIENT: &str = "g";
/// The slot of the mean gradient h at the server.
const MEAN: &str = "h";

#[derive(Debug)]
struct Dynamic {
    alpha: f64,
}

impl ClientTerm for Dynamic {
    fn features(&self) -> &'static [&'static str] {
        &[feature::PROXIMAL, feature::LINEAR]
    }

    fn proximal(&self) -> f32 {
        self.alpha as f32
    }

    fn needs_equal_mean(&self) -> bool {
        true
    }

    fn moves_mean(&self) -> bool {
        true
    }

    fn is_of_client(&self) -> bool {
        true
    }

    fn server_slots(&self) -> &'static [&'static str] {
        &[MEAN]
    }

    fn client_slots(&self) -> &'static [&'static str] {
        &[GRADIENT]
    }

    fn prepare(&self, given: &Given<'_>) -> Prepared {
        let linear = given.client.vector(GRADIENT).map(|g| Arc::new(g.iter().map(|g| -g).collect()));
        Prepared::one(Phase { proximal: self.proximal(), ..given.work.phase() }, linear)
    }

    /// h adds up all changes of the clients: without a decay it may grow until training diverges.
    fn warning(&self, weights: &[f32], slots: &Slots) -> Option<&'static str> {
        const MOST: f64 = 10.0;
        let mean = slots.vector(MEAN)?;
        let is_far = length(mean) / self.alpha > MOST * length(weights);
        is_far.then_some(
            "h/α is more than 10 times as long as the weights, so that training may diverge; give a smaller alpha, a lower \
             --lr or fewer --epochs",
        )
    }

    /// g_k⁺ = g_k − α (w_k − w).
    fn accept(&self, given: &Given<'_>, returned: &Returned) -> Slots {
        let held = given.client.vector(GRADIENT);
        let value = |(index, (&w, &moved)): (usize, (&f32, &f32))| {
            let before = held.map_or(0.0, |g| f64::from(g[index]));
            (before - self.alpha * (f64::from(moved) - f64::from(w))) as f32
        };
        let mut after = Slots::default();
        let mut gradient: Vec<f32> = given.weights.iter().zip(&returned.weights).enumerate().map(value).collect();
        clear_unstepped(&mut gradient, given.layout);
        after.set_vector(GRADIENT, gradient);
        after
    }

    /// h ← h − α (1/N) Σ_S (w_k − w), with N all clients; w ← mean − h/α.
    fn settle(&self, round: &ClosedRound<'_>, moved: Vec<f32>, slots: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let each = self.alpha / f64::from(round.clients);
        let held = slots.vector(MEAN).map(|h| (1.0, h.as_slice()));
        let received = (each * round.updates.len() as f64, round.received);
        let updates = round.updates.iter().map(|update| (-each, update.weights.as_slice()));
        let members: Vec<_> = held.into_iter().chain([received]).chain(updates).collect();
        let mean = math.combine(&members, 1.0);
        let corrected = math.combine(&[(1.0, &moved), (-1.0 / self.alpha, &mean)], 1.0);
        slots.set_vector(MEAN, mean);
        corrected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregator::testing::update,
        closed_round::{ClientUpdate, order_key},
        term::testing::{given, layout, linear, returned},
        vector_math::OneCore,
    };

    #[test]
    fn the_first_round_at_full_participation_goes_twice_the_mean_change() {
        let rule = Dynamic { alpha: 0.5 };
        let layout = layout();
        let given = given(&layout);
        let prepared = rule.prepare(&given);
        assert_eq!((prepared.phases[0].proximal, linear(&prepared)), (0.5, None));
        let changed = [[1.25; 3], [2.0; 3]];
        let after = changed.map(|weights| rule.accept(&given, &returned(update(0, 1, 1), weights)));
        assert_eq!(after.each_ref().map(|slots| slots.vector("g").unwrap()[0]), [-0.125, -0.5]);
        let mut accepted: Vec<_> =
            changed.iter().map(|weights| ClientUpdate::new(update(0, 1, 1), weights.to_vec())).collect();
        let round = ClosedRound {
            received: &[1.0; 3],
            updates: &mut accepted,
            clients: 2,
            learning_rate: 0.1,
            layout: &layout,
            key: order_key(1, 1),
        };
        let mut state = Slots::default();
        let mean = (1.25 + 2.0) / 2.0;
        assert_eq!(rule.settle(&round, vec![mean; 3], &mut state, &OneCore)[0], 1.0 + 2.0 * (mean - 1.0));
        // h is the mean of the g_k.
        assert_eq!(state.vector("h").unwrap()[0], (-0.125 - 0.5) / 2.0);
        let next = rule.prepare(&Given { client: &after[1], ..given });
        // A buffer and a local tensor have no correction.
        assert_eq!(linear(&next), Some(&[0.5, -0.0, -0.0][..]));
    }
}
