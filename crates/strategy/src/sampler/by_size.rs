//! Sampling by size without replacement: a client with more examples is drawn sooner (Efraimidis 2006).

use std::sync::Arc;

use fedpipe_random::order::weighted_order;
use fedpipe_spec::table::TableRow;

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "by-size",
    summary: "draws one by one, each by the examples of the clients that are left, without replacement",
    parameters: &[],
    source: "Efraimidis 2006, algorithm A-ES",
    build: |_| Arc::new(BySize),
};

#[derive(Debug)]
struct BySize;

impl Sampler for BySize {
    /// Returns the first `count` clients of an order by weight, sorted.
    fn sample(&self, draw: &Draw<'_>) -> Vec<u32> {
        draw.first_of(weighted_order(&draw.key(), draw.sizes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::written;

    fn sample(round: u64, count: u32, sizes: &[u64]) -> Vec<u32> {
        BySize.sample(&Draw { seed: 1, round, count, sizes })
    }

    #[test]
    fn a_client_with_more_examples_takes_part_more_often() {
        let sizes = [10, 20, 30, 140];
        let mut times = [0_u32; 4];
        for round in 1..=2000 {
            sample(round, 1, &sizes).iter().for_each(|&client| times[client as usize] += 1);
            let two = sample(round, 2, &sizes);
            assert!(two.len() == 2 && two[0] < two[1], "{two:?}");
        }
        // 100, 200, 300 and 1400 with a standard deviation of at most 21.
        let expected = [100_u32, 200, 300, 1400];
        assert!(times.iter().zip(expected).all(|(times, expected)| times.abs_diff(expected) < 100), "{times:?}");
        assert_eq!(sample(1, 4, &sizes), [0, 1, 2, 3]);
    }

    /// The vectors of the README come from `vectors.py`, which is independent of this crate.
    #[test]
    fn samples_are_those_of_the_readme() {
        for round in [1, 2] {
            let sampled: Vec<String> = sample(round, 3, &[3, 1, 4, 1, 5, 9, 2, 6]).iter().map(u32::to_string).collect();
            let name = format!("sample by the sizes 3, 1, 4, 1, 5, 9, 2, 6: seed 1, round {round}, 3 of 8");
            assert_eq!(sampled.join(" "), written(&name));
        }
    }
}
