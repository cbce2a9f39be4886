//! A body that stays with each client, LG-FedAvg (Liang 2020, Algorithm 1): local representations below a global head.

use std::sync::Arc;

use fedpipe_protocol::{LOCAL, Layout};
use fedpipe_spec::table::TableRow;

use super::{
    ClientTerm,
    head::{HEAD, Head},
};

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "local-body",
    summary: "each client keeps its own body, and the head is shared; LG-FedAvg",
    parameters: &[HEAD],
    source: "Liang 2020, Algorithm 1",
    build: |values| Arc::new(LocalBody { head: Head::of(values) }),
};

#[derive(Debug)]
struct LocalBody {
    head: Head,
}

impl ClientTerm for LocalBody {
    fn client_slots(&self) -> &'static [&'static str] {
        &[LOCAL]
    }

    fn local_tensors(&self, layout: &Layout) -> Result<Vec<String>, String> {
        let body = self.head.body(layout)?;
        if body.len() == layout.tensors().len() {
            return Err("the head is empty, so that nothing is shared; name a layer".to_owned());
        }
        Ok(body)
    }
}
