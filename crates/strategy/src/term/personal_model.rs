//! A personal model at each client, Ditto (Li 2021, Algorithm 1).
//!
//! A sampled client first trains its own model v_k on f_k(v) + λ/2 ‖v − w_received‖², and then the global model w as
//! without this rule, both over the same mini-batches. v_k begins with the model's initial weights, and no update has a
//! part of it.

use std::sync::Arc;

use fedpipe_protocol::{Phase, PhaseStart, feature};
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{ClientTerm, Given, Prepared};
use crate::{closed_round::Returned, slots::Slots};

pub(crate) const LAMBDA: Parameter = Parameter {
    key: "lambda",
    default: None,
    range: Range::NotNegative,
    help: "λ, the pull of a client's own model to the received weights; 0 is local training, common are 0.05 to 2",
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "personal-model",
    summary: "each client trains a model v of its own besides, with λ/2 ‖v − w_received‖²; Ditto",
    parameters: &[LAMBDA],
    source: "Li 2021 (Ditto), Algorithm 1",
    build: |values| Arc::new(PersonalModel { lambda: values.number("lambda") as f32 }),
};

/// The slot of a client's own model.
const PERSONAL: &str = "personal";

#[derive(Debug)]
struct PersonalModel {
    lambda: f32,
}

impl ClientTerm for PersonalModel {
    fn features(&self) -> &'static [&'static str] {
        if self.lambda > 0.0 { &[feature::PHASES, feature::PROXIMAL] } else { &[feature::PHASES] }
    }

    fn is_of_client(&self) -> bool {
        true
    }

    fn client_slots(&self) -> &'static [&'static str] {
        &[PERSONAL]
    }

    fn state_follows_update(&self) -> bool {
        false
    }

    fn own_model(&self) -> Option<&'static str> {
        Some(PERSONAL)
    }

    fn pull_of_own_model(&self) -> f32 {
        self.lambda
    }

    fn prepare(&self, given: &Given<'_>) -> Prepared {
        let held = given.client.vector(PERSONAL).unwrap_or(given.initial);
        let work = given.work.phase();
        let own = Phase { start: PhaseStart::Slot, proximal: self.lambda, update: false, ..work.clone() };
        Prepared { phases: vec![own, work], parts: vec![("start/0".to_owned(), Arc::clone(held))] }
    }

    fn accept(&self, given: &Given<'_>, returned: &Returned) -> Slots {
        let mut after = given.client.clone();
        returned.slots.iter().for_each(|(_, own)| after.set_vector(PERSONAL, own.clone()));
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregator::testing::update,
        local_work::ClientWork,
        term::testing::{given, layout, returned},
    };

    #[test]
    fn a_client_begins_with_the_initial_weights_and_goes_on_with_its_own() {
        let (layout, initial) = (layout(), Arc::new(vec![7.0; 3]));
        let given = Given { initial: &initial, work: ClientWork::epochs(3), ..given(&layout) };
        let rule = PersonalModel { lambda: 0.5 };
        let Prepared { phases, parts } = rule.prepare(&given);
        let own = Phase { start: PhaseStart::Slot, proximal: 0.5, update: false, ..Phase::plain(3) };
        // The global model trains as without the rule.
        assert_eq!(phases, [own, Phase::plain(3)]);
        assert_eq!(parts, [("start/0".to_owned(), initial.clone())]);
        let answer =
            crate::closed_round::Returned { slots: vec![(0, vec![2.0; 3])], ..returned(update(0, 1, 4), [9.0; 3]) };
        let after = rule.accept(&given, &answer);
        let next = rule.prepare(&Given { client: &after, ..given });
        assert_eq!(*next.parts[0].1, [2.0; 3]);
    }

    #[test]
    fn without_a_pull_the_own_model_trains_on_its_own_loss() {
        let layout = layout();
        let rule = PersonalModel { lambda: 0.0 };
        let own = &rule.prepare(&given(&layout)).phases[0];
        assert_eq!(*own, Phase { start: PhaseStart::Slot, update: false, ..Phase::plain(1) });
        assert_eq!(rule.features(), [feature::PHASES]);
    }
}
