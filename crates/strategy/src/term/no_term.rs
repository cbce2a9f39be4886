//! No term: a client trains on its own loss.

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::ClientTerm;

pub(super) const ROW: TableRow<dyn ClientTerm> = TableRow {
    name: "none",
    summary: "the client's own loss",
    parameters: &[],
    source: "McMahan 2017, Algorithm 1",
    build: |_| Arc::new(NoTerm),
};

#[derive(Debug)]
struct NoTerm;

impl ClientTerm for NoTerm {}
