//! Sampling by size: a client with more examples is drawn sooner.
//!
//! Without replacement the clients are drawn one by one, each by the examples of those that are left (Efraimidis 2006).
//! With replacement each draw is by the examples of all, and a client counts in the mean for each time that it was
//! drawn (Li 2020, FedProx).

use std::sync::Arc;

use fedpipe_random::{key::unit, order::weighted_order};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "by-size",
    summary: "draws one by one by the examples of the clients that are left, or of all",
    parameters: &[Parameter {
        key: "replacement",
        default: Some(Value::Flag(false)),
        range: Range::Flag,
        help: "true draws from all clients each time; a client counts for each time that it is drawn",
    }],
    source: "Efraimidis 2006, algorithm A-ES; Li 2020, Algorithm 2",
    build: |values| Arc::new(BySize { replaces: values.flag("replacement") }),
};

#[derive(Debug)]
struct BySize {
    replaces: bool,
}

impl Sampler for BySize {
    /// Returns the first `count` clients of an order by weight, or as many draws, sorted.
    fn draw(&self, draw: &Draw<'_>) -> Vec<u32> {
        if !self.replaces {
            return draw.first_of(weighted_order(&draw.key(), draw.sizes));
        }
        let ends = draw.sizes.iter().scan(0, |end: &mut u64, size| {
            *end += size;
            Some(*end)
        });
        let ends: Vec<u64> = ends.collect();
        let all = ends.last().copied().unwrap_or_default() as f64;
        let mut rng = draw.key().rng();
        let last = ends.len() - 1;
        let place = |at: f64| (ends.partition_point(|&end| end as f64 <= at)).min(last) as u32;
        let mut drawn: Vec<u32> = (0..draw.count).map(|_| place(unit(&mut rng) * all)).collect();
        drawn.sort_unstable();
        drawn
    }

    fn repeats(&self) -> bool {
        self.replaces
    }

    fn draws_successors(&self) -> bool {
        !self.replaces
    }

    fn least(&self, count: u32) -> u32 {
        if self.replaces { 1 } else { count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::written;

    fn sample(round: u64, count: u32, sizes: &[u64]) -> Vec<u32> {
        BySize { replaces: false }.draw(&Draw { seed: 1, round, count, sizes })
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

    /// A client with the share p of the examples is drawn 3p times in the mean, and may be drawn more than once.
    #[test]
    fn with_replacement_each_draw_has_the_same_chances() {
        let sizes = [10, 0, 20, 170];
        let mut times = [0_u32; 4];
        let mut repeats = 0;
        for round in 1..=2000 {
            let draw = Draw { seed: 1, round, count: 3, sizes: &sizes };
            let drawn = BySize { replaces: true }.draw(&draw);
            assert!(drawn.len() == 3 && drawn.is_sorted());
            drawn.iter().for_each(|&client| times[client as usize] += 1);
            repeats += u32::from(drawn.windows(2).any(|pair| pair[0] == pair[1]));
        }
        // 300, 0, 600 and 5100 with a standard deviation of at most 28.
        let expected = [300_u32, 0, 600, 5100];
        assert!(times.iter().zip(expected).all(|(times, expected)| times.abs_diff(expected) < 140), "{times:?}");
        assert!(repeats > 1500, "{repeats}");
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
