//! Shuffles the rows and cuts them into parts whose sizes differ by at most 1.

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

use super::start_of;

pub(super) fn partition(examples: u32, clients: u32, seed: u64) -> Vec<Vec<u32>> {
    let key = Key { seed, purpose: Use::Partition, client: 0, round: 0, epoch: 0 };
    let rows = order(&key, examples);
    (0..clients)
        .map(|k| {
            let mut part = rows[start_of(k, examples, clients)..start_of(k + 1, examples, clients)].to_vec();
            part.sort_unstable();
            part
        })
        .collect()
}
