//! Client terms: what a client adds to its loss, and the state that belongs to it. The state of a client is kept by the
//! host, travels with the request and is replaced when the update is accepted.

mod control_variate;
pub(crate) mod dynamic;
mod no_term;
pub(crate) mod proximal;

use std::{fmt, sync::Arc};

use fedpipe_protocol::{Kind, LINEAR, Layout, Phase, Place, Update};
use fedpipe_spec::table::{TableRow, Tabled};

use crate::{slots::Slots, vector_math::Math};

/// The facts about a client's request that a term may use.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The weights that the client receives.
    pub weights: &'a [f32],
    /// The state of the server before the round.
    pub server: &'a Slots,
    /// The client's state; empty before its first accepted update.
    pub client: &'a Slots,
    /// The local epochs of the experiment.
    pub epochs: u64,
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

/// The answer of a client that was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Returned<'a> {
    /// The numbers of the update.
    pub update: &'a Update,
    /// The weights after the phase that is the update, flat.
    pub weights: &'a [f32],
    /// The weights after each phase that is no update, with the number of the phase.
    pub slots: &'a [(usize, Vec<f32>)],
}

impl Prepared {
    /// Returns one phase, with the part `linear` if there is one.
    fn one(phase: Phase, linear: Option<Arc<Vec<f32>>>) -> Self {
        let phase = Phase { linear: linear.is_some(), ..phase };
        Self { phases: vec![phase], parts: linear.map(|linear| (LINEAR.to_owned(), linear)).into_iter().collect() }
    }
}

/// An update that was accepted, with the client's state before and after it.
#[derive(Debug, Clone, Copy)]
pub struct Accepted<'a> {
    /// The client's weights, flat.
    pub weights: &'a [f32],
    /// The client's state before the round.
    pub before: &'a Slots,
    /// The client's state after the round.
    pub after: &'a Slots,
}

/// A round whose updates are aggregated.
#[derive(Debug, Clone, Copy)]
pub struct TermRound<'a> {
    /// The weights that the clients received.
    pub received: &'a [f32],
    /// The updates in client order, at least one.
    pub updates: &'a [Accepted<'a>],
    /// The number of all clients.
    pub clients: u32,
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

    /// Returns `true` if the parts of a request follow from the client's own state, so that the server of a federation
    /// would not send them.
    fn is_of_client(&self) -> bool {
        false
    }

    /// Returns `true` if the term is a proximal one, which shortens ‖a‖₁.
    fn is_proximal(&self) -> bool {
        false
    }

    /// Returns `true` if the rule has state, or changes the weights after the aggregation. Such a rule needs the equal
    /// mean and a server that takes it.
    fn has_state(&self) -> bool {
        false
    }

    /// Returns the part of a client's request that this rule decides.
    fn prepare(&self, given: &Given<'_>) -> Prepared {
        Prepared::one(Phase::plain(given.epochs), None)
    }

    /// Returns the client's state after an update was accepted; the state before it by default.
    fn accept(&self, given: &Given<'_>, _returned: &Returned<'_>) -> Slots {
        given.client.clone()
    }

    /// Returns the new global weights from those that the server optimiser made, and sets the slots of this rule.
    fn settle(&self, _round: &TermRound<'_>, moved: Vec<f32>, _slots: &mut Slots, _math: &dyn Math) -> Vec<f32> {
        moved
    }
}

static ROWS: [TableRow<dyn ClientTerm>; 4] = [no_term::ROW, proximal::ROW, control_variate::ROW, dynamic::ROW];

impl Tabled for dyn ClientTerm {
    const WHAT: &'static str = "client term";
    const LIST: &'static str = "terms";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Returns the values with 0 for buffers and local tensors. No gradient moves a buffer. A local tensor has a target of
/// its own at each client, so that other clients do not correct it.
fn of_shared_parameters(mut values: Vec<f32>, layout: &Layout) -> Vec<f32> {
    let others = layout.ranges().filter(|(tensor, _)| tensor.kind == Kind::Buffer || tensor.place == Place::Local);
    others.for_each(|(_, range)| values[range].fill(0.0));
    values
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
    use super::*;

    /// Returns the part `linear`.
    pub(crate) fn linear(prepared: &Prepared) -> Option<&[f32]> {
        prepared.parts.iter().find(|(name, _)| name == LINEAR).map(|(_, linear)| linear.as_slice())
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
