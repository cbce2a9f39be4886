//! A head that keeps its initial value, FedBABU (Oh 2022, Algorithm 1).
//!
//! Clients train and share the body. A client's own model has its head trained on top, with the body frozen, before the
//! client is scored.

use std::sync::Arc;

use fedpipe_protocol::{Layout, Phase, feature};
use fedpipe_spec::table::TableRow;

use super::{
    ClientTerm, Given, Prepared,
    head::{HEAD, Head},
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "frozen-head",
    summary: "the head keeps its initial value, and is trained for a client's own score alone; FedBABU",
    parameters: &[HEAD],
    source: "Oh 2022, Algorithm 1",
    build: |values| Arc::new(FrozenHead { head: Head::of(values) }),
};

#[derive(Debug)]
struct FrozenHead {
    head: Head,
}

impl ClientTerm for FrozenHead {
    fn features(&self) -> &'static [&'static str] {
        &[feature::FROZEN]
    }

    fn is_personal(&self) -> bool {
        true
    }

    fn fine_tuning_epochs(&self) -> u64 {
        1
    }

    fn fine_tuning(&self, epochs: u64, layout: &Layout) -> Phase {
        Phase { frozen: self.head.body(layout).unwrap_or_default(), ..Phase::plain(epochs) }
    }

    fn check_layout(&self, layout: &Layout) -> Result<(), String> {
        self.head.tensors(layout).map(drop)
    }

    fn prepare(&self, given: &Given<'_>) -> Prepared {
        let frozen = self.head.tensors(given.layout).unwrap_or_default();
        Prepared::one(Phase { frozen, ..given.work.phase() }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::testing::{given, layout};

    #[test]
    fn the_body_is_trained_in_a_round_and_the_head_before_a_score() {
        let layout = layout();
        let rule = FrozenHead { head: Head::Last(1) };
        let frozen = vec!["head".to_owned()];
        assert_eq!(rule.prepare(&given(&layout)).phases, [Phase { frozen, ..Phase::plain(1) }]);
        let frozen = vec!["w".to_owned(), "mean".to_owned()];
        assert_eq!(rule.fine_tuning(4, &layout), Phase { frozen, ..Phase::plain(4) });
        let empty = FrozenHead { head: Head::Last(0) };
        assert_eq!(empty.prepare(&given(&layout)).phases, [Phase::plain(1)]);
    }
}
