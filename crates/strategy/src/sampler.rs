//! Sampling: the clients of a round.

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

/// Returns the clients of `round`, ascending: `count` of all `clients`, without replacement, each set equally likely.
///
/// It is a function of the seed and the round alone, so that two strategies meet the same clients.
pub fn sample_clients(seed: u64, round: u64, clients: u32, count: u32) -> Vec<u32> {
    let key = Key { seed, purpose: Use::Sample, client: 0, round, epoch: 0 };
    let mut sampled = order(&key, clients);
    sampled.truncate(count as usize);
    sampled.sort_unstable();
    sampled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sampled_without_replacement_and_evenly() {
        let mut times = [0; 10];
        for round in 1..=1000 {
            let sampled = sample_clients(7, round, 10, 3);
            assert!(sampled.len() == 3 && sampled.is_sorted_by(|a, b| a < b));
            sampled.iter().for_each(|&client| times[client as usize] += 1);
        }
        // 300 each, standard deviation 14.5.
        assert!(times.iter().all(|n| (230..370).contains(n)), "{times:?}");
        assert_eq!(sample_clients(7, 1, 10, 10), Vec::from_iter(0..10));
        assert_ne!(sample_clients(7, 1, 1000, 3), sample_clients(8, 1, 1000, 3));
    }
}
