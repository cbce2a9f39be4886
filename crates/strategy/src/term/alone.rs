//! Local-only training: each client trains on from its own weights, and nothing is aggregated.
//!
//! The baseline that says whether a federation pays for a client (Li 2021, Ditto, section 4, calls it "local"). The
//! host keeps a client's weights as its state. The global weights stay the initial ones, from which each client begins.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{ClientTerm, Given};
use crate::{closed_round::Returned, slots::Slots};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "alone",
    summary: "the client's own loss, from the client's own weights; nothing is aggregated",
    parameters: &[],
    source: "Li 2021 (Ditto), section 4",
    build: |_| Arc::new(Alone),
};

/// The slot of a client's weights.
const OWN: &str = "own";

#[derive(Debug)]
struct Alone;

impl ClientTerm for Alone {
    fn trains_alone(&self) -> bool {
        true
    }

    fn client_slots(&self) -> &'static [&'static str] {
        &[OWN]
    }

    fn own_weights<'s>(&self, client: &'s Slots) -> Option<&'s Arc<Vec<f32>>> {
        client.vector(OWN)
    }

    fn accept(&self, _given: &Given<'_>, returned: &Returned) -> Slots {
        let mut after = Slots::default();
        after.set_vector(OWN, returned.weights.clone());
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregator::testing::update,
        term::testing::{given, layout, returned},
    };

    /// Buffers and local tensors are the client's own, too.
    #[test]
    fn a_client_continues_from_the_weights_of_its_last_update() {
        let layout = layout();
        let given = given(&layout);
        assert_eq!(Alone.own_weights(given.client), None);
        let after = Alone.accept(&given, &returned(update(0, 1, 1), [1.5, -2.0, 0.25]));
        assert_eq!(Alone.own_weights(&after).unwrap().as_slice(), [1.5, -2.0, 0.25]);
        let again = Alone.accept(&Given { client: &after, ..given }, &returned(update(0, 2, 1), [3.0; 3]));
        assert_eq!(Alone.own_weights(&again).unwrap().as_slice(), [3.0; 3]);
    }
}
