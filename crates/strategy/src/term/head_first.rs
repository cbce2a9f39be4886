//! A head that stays with each client and is trained before the body, FedRep (Collins 2021, Algorithm 1).
//!
//! A client trains its head for some epochs with the body frozen, and then the body for the local work with the head
//! frozen. The body alone is aggregated.

use std::sync::Arc;

use fedpipe_protocol::{LOCAL, Layout, Phase, PhaseStart, feature};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    ClientTerm, Given, Prepared,
    head::{HEAD, Head},
};

pub(crate) const HEAD_EPOCHS: Parameter = Parameter {
    key: "head-epochs",
    default: Some(Value::Number(1.0)),
    range: Range::WholeNumber,
    help: "the epochs of the head before the local work of the body; 10 in the paper",
};

pub(crate) const PARAMETERS: [Parameter; 2] = [HEAD, HEAD_EPOCHS];

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "head-first",
    summary: "each client keeps its own head, trained before the body; FedRep",
    parameters: &PARAMETERS,
    source: "Collins 2021, Algorithm 1",
    build: |values| Arc::new(HeadFirst { head: Head::of(values), epochs: values.count("head-epochs").into() }),
};

#[derive(Debug)]
struct HeadFirst {
    head: Head,
    epochs: u64,
}

impl ClientTerm for HeadFirst {
    fn features(&self) -> &'static [&'static str] {
        &[feature::FROZEN, feature::PHASES]
    }

    fn client_slots(&self) -> &'static [&'static str] {
        &[LOCAL]
    }

    fn local_tensors(&self, layout: &Layout) -> Result<Vec<String>, String> {
        self.head.tensors(layout)
    }

    /// An empty head needs no epoch.
    fn prepare(&self, given: &Given<'_>) -> Prepared {
        let names = |of: Result<Vec<String>, String>| of.unwrap_or_default();
        let (head, body) = (names(self.head.tensors(given.layout)), names(self.head.body(given.layout)));
        let of_body = Phase { frozen: head, ..given.work.phase() };
        if of_body.frozen.is_empty() || self.epochs == 0 {
            return Prepared { phases: vec![of_body], parts: Vec::new() };
        }
        let of_head = Phase { frozen: body, update: false, ..Phase::plain(self.epochs) };
        let of_body = Phase { start: PhaseStart::Previous, ..of_body };
        Prepared { phases: vec![of_head, of_body], parts: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local_work::ClientWork,
        term::testing::{given, layout},
    };

    fn phases(head: Head, epochs: u64) -> Vec<Phase> {
        let layout = layout();
        let given = Given { work: ClientWork::epochs(2), ..given(&layout) };
        HeadFirst { head, epochs }.prepare(&given).phases
    }

    #[test]
    fn the_head_trains_with_the_body_frozen_and_then_the_body_with_the_head_frozen() {
        let [head, body] = &phases(Head::Last(1), 5)[..] else { panic!("two phases") };
        let frozen = vec!["w".to_owned(), "mean".to_owned()];
        assert_eq!(*head, Phase { frozen, update: false, ..Phase::plain(5) });
        let frozen = vec!["head".to_owned()];
        assert_eq!(*body, Phase { start: PhaseStart::Previous, frozen, ..Phase::plain(2) });
    }

    #[test]
    fn no_epoch_of_an_empty_head_is_plain_training() {
        assert_eq!(phases(Head::Last(0), 0), [Phase::plain(2)]);
        assert_eq!(phases(Head::Last(0), 5), [Phase::plain(2)]);
        assert_eq!(phases(Head::Last(1), 0), [Phase { frozen: vec!["head".to_owned()], ..Phase::plain(2) }]);
    }
}
