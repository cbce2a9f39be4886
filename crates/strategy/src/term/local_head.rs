//! A head that stays with each client, FedPer (Arivazhagan 2019, section 3).
//!
//! A client trains body and head together, and the body alone is aggregated.

use std::sync::Arc;

use fedpipe_protocol::{LOCAL, Layout};
use fedpipe_spec::table::TableRow;

use super::{
    ClientTerm,
    head::{HEAD, Head},
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "local-head",
    summary: "each client keeps its own head; FedPer",
    parameters: &[HEAD],
    source: "Arivazhagan 2019, section 3",
    build: |values| Arc::new(LocalHead { head: Head::of(values) }),
};

#[derive(Debug)]
struct LocalHead {
    head: Head,
}

impl ClientTerm for LocalHead {
    fn client_slots(&self) -> &'static [&'static str] {
        &[LOCAL]
    }

    fn local_tensors(&self, layout: &Layout) -> Result<Vec<String>, String> {
        self.head.tensors(layout)
    }
}
