//! Sorts the rows by label, cuts them into shards and deals these at random (McMahan 2017).

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

use super::start_of;
use crate::error::DataError;

pub(super) fn check(per_client: u32) -> Result<(), DataError> {
    if per_client == 0 { Err(DataError::NoShards) } else { Ok(()) }
}

pub(super) fn partition(per_client: u32, labels: &[u32], clients: u32, seed: u64) -> Result<Vec<Vec<u32>>, DataError> {
    check(per_client)?;
    let examples = labels.len() as u32;
    let Some(shards) = clients.checked_mul(per_client).filter(|shards| *shards <= examples) else {
        return Err(DataError::TooManyShards { per_client, clients, examples });
    };
    let mut rows: Vec<u32> = (0..examples).collect();
    rows.sort_by_key(|&row| labels[row as usize]); // The sort is stable: rows ascend within a label.
    let key = Key { seed, purpose: Use::Partition, client: 0, round: 0, epoch: 0 };
    let dealt = order(&key, shards);
    Ok(dealt
        .chunks_exact(per_client as usize)
        .map(|mine| {
            let mut part = Vec::new();
            for &shard in mine {
                part.extend_from_slice(&rows[start_of(shard, examples, shards)..start_of(shard + 1, examples, shards)]);
            }
            part.sort_unstable();
            part
        })
        .collect())
}
