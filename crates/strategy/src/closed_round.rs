//! The updates of a round, on their way from a client's answer to the rules that use them.

use std::{borrow::Cow, ops::Range};

use fedpipe_protocol::{Kind, Layout, Place, Update};
use fedpipe_random::key::{Key, Use};

use crate::{slots::Slots, weighting::Weighting};

/// The answer of a client that is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Returned {
    /// The numbers of the update.
    pub header: Update,
    /// The weights after the phase that is the update, flat.
    pub weights: Vec<f32>,
    /// The weights after each phase that is no update, with the number of the phase.
    pub slots: Vec<(usize, Vec<f32>)>,
}

/// An update that was accepted, with the client's state before and after it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientUpdate {
    /// The numbers of the update.
    pub header: Update,
    /// The client's weights, flat and in layout order; empty once a host has added them to the mean.
    pub weights: Vec<f32>,
    /// The number of times that the client was drawn for the round, at least 1.
    pub draws: u32,
    /// The client's state before the round.
    pub before: Slots,
    /// The client's state after the round.
    pub after: Slots,
    /// The bytes of the weights and corrections that a federation would send to the client.
    pub bytes_sent: u64,
    /// The bytes of the update that a federation would receive.
    pub bytes_received: u64,
    /// ‖w_k − w‖: the length of the change of the client's weights.
    pub norm: f32,
}

impl ClientUpdate {
    /// Returns an update of a client without state, whose bytes are not counted.
    pub fn new(header: Update, weights: Vec<f32>) -> Self {
        let (before, after) = Default::default();
        Self { header, weights, draws: 1, before, after, bytes_sent: 0, bytes_received: 0, norm: 0.0 }
    }

    /// Returns the weight of the update: that of the `weighting` for each time that the client was drawn.
    pub fn weight(&self, weighting: &dyn Weighting) -> f64 {
        f64::from(self.draws) * weighting.weight(&self.header)
    }

    /// Returns `true` if the round changed the client's state.
    pub fn changes_state(&self) -> bool {
        self.after != self.before
    }
}

/// A round whose updates were accepted.
#[derive(Debug)]
pub struct ClosedRound<'a> {
    /// The weights that the clients received.
    pub received: &'a [f32],
    /// The updates in client order. There is at least one, unless a host has added them as they arrived. The rules may
    /// overwrite their weights.
    pub updates: &'a mut [ClientUpdate],
    /// The number of all clients.
    pub clients: u32,
    /// The local learning rate.
    pub learning_rate: f32,
    /// The tensors of the weights.
    pub layout: &'a Layout,
    /// The key of the orders that rules draw among the updates.
    pub key: Key,
}

/// Returns the key of a round's orders among the updates.
pub fn order_key(seed: u64, round: u64) -> Key {
    Key { seed, purpose: Use::Aggregate, client: 0, round, epoch: 0 }
}

/// Returns the ranges of buffers and local tensors, which no server optimiser and no state of a rule has a part in: no
/// gradient moves the former, and each client has a target of its own for the latter.
pub(crate) fn unstepped_ranges(layout: &Layout) -> impl Iterator<Item = Range<usize>> {
    let others = layout.ranges().filter(|(tensor, _)| tensor.kind == Kind::Buffer || tensor.place == Place::Local);
    others.map(|(_, range)| range)
}

/// Sets buffers and local tensors to 0.
pub(crate) fn clear_unstepped(values: &mut [f32], layout: &Layout) {
    unstepped_ranges(layout).for_each(|range| values[range].fill(0.0));
}

/// Returns the values with 0 for buffers and local tensors.
pub(crate) fn stepped<'v>(values: &'v [f32], layout: &Layout) -> Cow<'v, [f32]> {
    let mut values = Cow::Borrowed(values);
    if unstepped_ranges(layout).next().is_some() {
        clear_unstepped(values.to_mut(), layout);
    }
    values
}
