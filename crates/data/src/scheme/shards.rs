//! Sorts the rows by label, cuts them into shards and deals these at random (McMahan 2017).

use std::sync::Arc;

use fedpipe_random::order::order;
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Labelled, Partitioner, cut::start_of, key};
use crate::error::DataError;

pub(super) const ROW: TableRow<dyn Partitioner> = TableRow {
    name: "shards",
    summary: "sorts the examples by label, cuts them into shards and deals these at random",
    parameters: &[Parameter {
        key: "per-client",
        default: None,
        range: Range::Count,
        help: "the number of shards for each client",
    }],
    source: "McMahan 2017, section 3",
    build: |values| Arc::new(Shards { per_client: values.count("per-client") }),
};

#[derive(Debug)]
struct Shards {
    per_client: u32,
}

impl Partitioner for Shards {
    /// Cuts into `clients * per_client` shards whose sizes differ by at most 1.
    fn deal(&self, labelled: &Labelled<'_>, clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
        let (per_client, examples) = (self.per_client, labelled.examples());
        let Some(shards) = clients.checked_mul(per_client).filter(|shards| *shards <= examples) else {
            return Err(DataError::TooManyShards { per_client, clients, examples });
        };
        let rows = labelled.rows_by_class(ROW.name)?.concat();
        let dealt = order(&key(seed, 0), shards);
        let part = |mine: &[u32]| {
            let mut part = Vec::new();
            for &shard in mine {
                part.extend_from_slice(&rows[start_of(shard, examples, shards)..start_of(shard + 1, examples, shards)]);
            }
            part.sort_unstable();
            part
        };
        Ok(dealt.chunks_exact(per_client as usize).map(part).collect())
    }
}
