//! Uniform sampling without replacement (McMahan 2017, Algorithm 1).

use std::sync::Arc;

use fedpipe_random::order::order;
use fedpipe_spec::table::TableRow;

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "uniform",
    summary: "each set of clients is equally likely, without replacement",
    parameters: &[],
    source: "McMahan 2017, Algorithm 1",
    build: |_| Arc::new(Uniform),
};

#[derive(Debug)]
struct Uniform;

impl Sampler for Uniform {
    /// Returns the first `count` clients of a keyed shuffle, sorted.
    fn draw(&self, draw: &Draw<'_>) -> Vec<u32> {
        draw.first_of(order(&draw.key(), draw.sizes.len() as u32))
    }

    fn draws_successors(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::written;

    fn sample(seed: u64, round: u64, clients: u32, count: u32) -> Vec<u32> {
        Uniform.draw(&Draw { seed, round, count, sizes: &vec![1; clients as usize] })
    }

    #[test]
    fn clients_are_sampled_without_replacement_and_evenly() {
        let mut times = [0; 10];
        for round in 1..=1000 {
            let sampled = sample(7, round, 10, 3);
            assert!(sampled.len() == 3 && sampled.is_sorted_by(|a, b| a < b));
            sampled.iter().for_each(|&client| times[client as usize] += 1);
        }
        // 300 each, standard deviation 14.5.
        assert!(times.iter().all(|n| (230..370).contains(n)), "{times:?}");
        assert_eq!(sample(7, 1, 10, 10), Vec::from_iter(0..10));
        assert_ne!(sample(7, 1, 1000, 3), sample(8, 1, 1000, 3));
    }

    /// The vectors of the README come from `vectors.py`, which is independent of this crate.
    #[test]
    fn samples_are_those_of_the_readme() {
        for (seed, round, count, clients) in [(1, 1, 3, 10), (1, 2, 3, 10), (7, 1, 5, 1000)] {
            let name = format!("sample: seed {seed}, round {round}, {count} of {clients}");
            let sampled: Vec<String> = sample(seed, round, clients, count).iter().map(u32::to_string).collect();
            assert_eq!(sampled.join(" "), written(&name), "{name}");
        }
    }
}
