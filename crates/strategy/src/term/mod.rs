//! Client terms: what a client adds to its loss, and the state that belongs to it. The state of a client is kept by the
//! host, travels with the request and is replaced when the update is accepted.

mod alone;
pub(crate) mod control_variate;
pub(crate) mod dynamic;
mod frozen_head;
pub(crate) mod head;
pub(crate) mod head_first;
mod local_body;
mod local_head;
pub(crate) mod local_norm;
mod no_term;
pub(crate) mod personal_model;
pub(crate) mod proximal;

use std::{fmt, sync::Arc};

use fedpipe_protocol::{LINEAR, LOCAL, Layout, Phase};
use fedpipe_spec::table::{TableRow, Tabled};

use crate::{
    closed_round::{ClosedRound, Returned},
    local_work::ClientWork,
    slots::Slots,
    vector_math::Math,
};

/// The facts about a client's request that a term may use.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The weights that the client receives.
    pub weights: &'a [f32],
    /// The state of the server before the round.
    pub server: &'a Slots,
    /// The client's state; empty before its first accepted update.
    pub client: &'a Slots,
    /// The weights before the first round.
    pub initial: &'a Arc<Vec<f32>>,
    /// The work of the client in the round.
    pub work: ClientWork,
    /// The local learning rate.
    pub learning_rate: f32,
    /// The tensors of the weights.
    pub layout: &'a Layout,
}

/// The part of a request that a term decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The phases, at least one, of which at least one is the update.
    pub phases: Vec<Phase>,
    /// The parts that the phases need, by name: `linear`, `anchor`, and `start/N` for a phase N that starts from a
    /// slot.
    pub parts: Vec<(String, Arc<Vec<f32>>)>,
}

impl Prepared {
    /// Returns one phase, with the part `linear` if there is one.
    fn one(phase: Phase, linear: Option<Arc<Vec<f32>>>) -> Self {
        let phase = Phase { linear: linear.is_some(), ..phase };
        Self { phases: vec![phase], parts: linear.map(|linear| (LINEAR.to_owned(), linear)).into_iter().collect() }
    }
}

/// A rule that adds a term to the loss of a client.
pub trait ClientTerm: fmt::Debug + Send + Sync {
    /// Returns the features that a client needs.
    fn features(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns `true` if each update must have ‖a‖₁ of its local optimiser.
    fn needs_accumulation(&self) -> bool {
        false
    }

    /// Returns `true` if the first step of the local optimiser must be η times the gradient.
    fn needs_first_step(&self) -> bool {
        false
    }

    /// Returns `true` if the parts of a request follow from the client's own state, so that the server of a federation
    /// would not send them.
    fn is_of_client(&self) -> bool {
        false
    }

    /// Returns the coefficient μ of a proximal term, which shortens ‖a‖₁; 0 for none.
    fn proximal(&self) -> f32 {
        0.0
    }

    /// Returns `true` if the state of the server is right for the equal mean of the clients' changes alone.
    fn needs_equal_mean(&self) -> bool {
        false
    }

    /// Returns `true` if the rule moves the weights away from the mean itself, so that the server optimiser may not.
    fn moves_mean(&self) -> bool {
        false
    }

    /// Returns `true` if the clients aggregate nothing: each one trains on from its own weights.
    fn trains_alone(&self) -> bool {
        false
    }

    /// Returns the weights from which a client with this state starts, in the place of the global ones; `None` for the
    /// global ones.
    fn own_weights<'s>(&self, _client: &'s Slots) -> Option<&'s Arc<Vec<f32>>> {
        None
    }

    /// Returns the names of the server's slots that this rule sets. No other row has a slot of such a name. A rule
    /// without slots has no part in the aggregation.
    fn server_slots(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the names of a client's slots that this rule sets.
    fn client_slots(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns `true` if the client's state follows from the update that the server receives. Local tensors do not.
    fn state_follows_update(&self) -> bool {
        self.client_slots().iter().any(|slot| *slot != LOCAL)
    }

    /// Returns `true` if each client has tensors or a model of its own, which are scored as its personal ones.
    fn is_personal(&self) -> bool {
        self.client_slots().contains(&LOCAL) || self.own_model().is_some()
    }

    /// Returns the names of the tensors that each client keeps for itself, besides those that the model keeps local.
    ///
    /// # Errors
    /// The reason why the rule does not suit the model, and the remedy: the end of a sentence about the model.
    fn local_tensors(&self, _layout: &Layout) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    /// Refuses a model that the rule does not suit.
    ///
    /// # Errors
    /// As for [`ClientTerm::local_tensors`].
    fn check_layout(&self, layout: &Layout) -> Result<(), String> {
        self.local_tensors(layout).map(drop)
    }

    /// Returns the slot of a client's state that has its own model; `None` if its own model is the global one with its
    /// local tensors.
    fn own_model(&self) -> Option<&'static str> {
        None
    }

    /// Returns the coefficient of a proximal term in the training of a client's own model; 0 for none.
    fn pull_of_own_model(&self) -> f32 {
        0.0
    }

    /// Returns the epochs of fine-tuning before a client's own model is scored, unless the experiment names them.
    fn fine_tuning_epochs(&self) -> u64 {
        0
    }

    /// Returns the phase of so many epochs that fine-tunes a client's own model.
    fn fine_tuning(&self, epochs: u64, _layout: &Layout) -> Phase {
        Phase::plain(epochs)
    }

    /// Returns the part of a client's request that this rule decides.
    fn prepare(&self, given: &Given<'_>) -> Prepared {
        Prepared::one(given.work.phase(), None)
    }

    /// Returns the client's state after an update was accepted; the state before it by default.
    fn accept(&self, given: &Given<'_>, _returned: &Returned) -> Slots {
        given.client.clone()
    }

    /// Returns a warning about the weights and the server's state after a round; `None` if they are as usual.
    fn warning(&self, _weights: &[f32], _slots: &Slots) -> Option<&'static str> {
        None
    }

    /// Returns the new global weights from those that the server optimiser made, and sets the slots of this rule, at
    /// least one.
    fn settle(&self, _round: &ClosedRound<'_>, moved: Vec<f32>, _slots: &mut Slots, _math: &dyn Math) -> Vec<f32> {
        moved
    }
}

static ROWS: [TableRow<dyn ClientTerm>; 11] = [
    no_term::ROW,
    proximal::ROW,
    control_variate::ROW,
    dynamic::ROW,
    alone::ROW,
    personal_model::ROW,
    local_head::ROW,
    head_first::ROW,
    local_norm::ROW,
    local_body::ROW,
    frozen_head::ROW,
];

impl Tabled for dyn ClientTerm {
    const WHAT: &'static str = "client term";
    const LIST: &'static str = "terms";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Returns Σ c x for each element, in f64 and rounded once; a vector that is absent is zero.
fn sum_of<const N: usize>(length: usize, terms: [(f64, Option<&Arc<Vec<f32>>>); N]) -> Vec<f32> {
    let value = |index: usize| {
        let term = |(c, x): &(f64, Option<&Arc<Vec<f32>>>)| x.map_or(0.0, |x| c * f64::from(x[index]));
        terms.iter().map(term).sum::<f64>() as f32
    };
    (0..length).map(value).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::LazyLock;

    use fedpipe_protocol::{Kind, Place, Update};

    use super::*;

    /// Returns the part `linear`.
    pub(crate) fn linear(prepared: &Prepared) -> Option<&[f32]> {
        prepared.parts.iter().find(|(name, _)| name == LINEAR).map(|(_, linear)| linear.as_slice())
    }

    /// Returns the answer of a client with one phase.
    pub(crate) fn returned(header: Update, weights: [f32; 3]) -> Returned {
        Returned { header, weights: weights.to_vec(), slots: Vec::new() }
    }

    /// Returns the facts of a first request: weights of 1, no state of server or client, one epoch at the rate 0.5.
    pub(crate) fn given(layout: &Layout) -> Given<'_> {
        static NONE: LazyLock<Slots> = LazyLock::new(Slots::default);
        static INITIAL: LazyLock<Arc<Vec<f32>>> = LazyLock::new(|| Arc::new(vec![1.0; 3]));
        let (server, client, work) = (&*NONE, &*NONE, ClientWork::epochs(1));
        Given { weights: &INITIAL, server, client, initial: &INITIAL, work, learning_rate: 0.5, layout }
    }

    /// Returns a layout of one shared parameter, a buffer and a local tensor, of one weight each.
    pub(crate) fn layout() -> Layout {
        let tensor =
            |name: &str, kind, place| fedpipe_protocol::Tensor { name: name.into(), shape: vec![1], kind, place };
        let tensors = vec![
            tensor("w", Kind::Param, Place::Shared),
            tensor("mean", Kind::Buffer, Place::Shared),
            tensor("head", Kind::Param, Place::Local),
        ];
        Layout::new(tensors).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{PhaseStart, feature};

    use super::{
        testing::{given, layout},
        *,
    };
    use crate::{aggregator::testing::update, preset::testing::every_row};

    /// The state of the second request may add a part to those of the first.
    #[test]
    fn every_row_lists_the_features_of_its_phases_and_has_the_parts_that_they_need() {
        for term in every_row::<dyn ClientTerm>() {
            let (layout, mut server) = (layout(), Slots::default());
            let listed: Vec<String> = term.features().iter().map(|&name| name.to_owned()).collect();
            let given = given(&layout);
            let client = term.accept(&given, &testing::returned(update(0, 1, 4), [2.0; 3]));
            term.server_slots().iter().for_each(|name| server.set_vector(name, vec![0.5; 3]));
            for given in [given, Given { server: &server, client: &client, ..given }] {
                let Prepared { phases, parts } = term.prepare(&given);
                assert_eq!(feature::unlisted(&phases, &listed), None, "{term}");
                let has = |part: &str| parts.iter().any(|(name, _)| name == part);
                assert_eq!(phases.iter().any(|phase| phase.linear), has(LINEAR), "{term}");
                let is_slot = |phase: &Phase| phase.start == PhaseStart::Slot;
                let starts = phases.iter().enumerate().filter(|(_, phase)| is_slot(phase));
                assert!(starts.clone().all(|(index, _)| has(&format!("start/{index}"))), "{term}");
                assert_eq!(parts.len(), starts.count() + usize::from(has(LINEAR)), "{term}");
            }
        }
    }
}
