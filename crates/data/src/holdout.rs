//! The rows and the clients that are kept out of training, so that weights can be scored on them.

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};

/// The shares that are held out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Holdout {
    /// The share of the rows of each partition, from 0 and below 1.
    pub rows: f64,
    /// The share of the clients whose whole partitions are held out, likewise.
    pub clients: f64,
}

/// The rows of a partition file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SplitRows {
    /// The training rows, followed by the held-out ones; both ascending.
    pub(crate) rows: Vec<u32>,
    /// The number of held-out rows.
    pub(crate) held_out: u64,
}

impl SplitRows {
    /// Returns the training rows, ascending.
    pub(crate) fn training(&self) -> &[u32] {
        &self.rows[..self.rows.len() - self.held_out as usize]
    }
}

impl Holdout {
    /// Returns `true` if nothing is held out.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the number of held-out rows of a partition with `n` rows: ⌊share · n⌋, the product in f64.
    pub fn count(&self, n: u64) -> u64 {
        (self.rows * n as f64) as u64
    }

    /// Returns the least share that holds out one of `n` rows or clients.
    pub fn least_share(n: u64) -> f64 {
        let share = 1.0 / n as f64;
        if share * n as f64 >= 1.0 { share } else { share.next_up() }
    }

    /// Returns the clients whose whole partitions are held out, ascending: ⌊share · clients⌋ of them, the first ones of
    /// a keyed order.
    pub fn new_clients(&self, seed: u64, clients: u32) -> Vec<u32> {
        let count = (self.clients * f64::from(clients)) as usize;
        if count == 0 {
            return Vec::new();
        }
        let mut new = order(&Key { seed, purpose: Use::Holdout, client: 0, round: 0, epoch: 1 }, clients);
        new.truncate(count);
        new.sort_unstable();
        new
    }

    /// Splits the ascending rows of a client: the first ⌊share · n⌋ of a keyed order are held out.
    pub(crate) fn split(&self, rows: &[u32], seed: u64, client: u32) -> SplitRows {
        let held_out = self.count(rows.len() as u64);
        let mut places = Vec::new();
        if held_out > 0 {
            places = order(&Key { seed, purpose: Use::Holdout, client, round: 0, epoch: 0 }, rows.len() as u32);
            places.truncate(held_out as usize);
            places.sort_unstable();
        }
        let is_held_out = |place: &usize| places.binary_search(&(*place as u32)).is_ok();
        let (held, training): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(is_held_out);
        SplitRows { rows: training.iter().chain(&held).map(|&place| rows[place]).collect(), held_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the value of a vector in the README of `random`, which `vectors.py` prints without this crate.
    fn written(name: &str) -> &'static str {
        let prefix = format!("| {name} | ");
        let row = include_str!("../../random/README.md").lines().find_map(|line| line.strip_prefix(&prefix));
        row.unwrap_or_else(|| panic!("the README has no vector {name:?}")).trim_end_matches(" |")
    }

    fn spaced(numbers: &[u32]) -> String {
        numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn held_out_rows_and_clients_are_those_of_the_readme() {
        let holdout = Holdout { rows: 0.25, clients: 0.2 };
        let rows = Vec::from_iter(10..20);
        let SplitRows { rows, held_out } = holdout.split(&rows, 1, 2);
        let (training, held) = rows.split_at(rows.len() - held_out as usize);
        let text = format!("{} · {}", spaced(training), spaced(held));
        assert_eq!(text, written("rows 10 to 19 of client 2 with 0.25 held out: seed 1"));
        assert_eq!(spaced(&holdout.new_clients(1, 15)), written("0.2 of 15 clients held out: seed 1"));
    }

    #[test]
    fn the_share_is_rounded_down_and_leaves_a_training_row() {
        for (share, n, expected) in [(0.2, 4, 0), (0.2, 5, 1), (0.2, 9, 1), (0.5, 1, 0), (0.999, 3, 2), (0.0, 9, 0)] {
            let holdout = Holdout { rows: share, clients: share };
            assert_eq!(holdout.count(n), expected, "{share} of {n}");
            assert_eq!(holdout.new_clients(7, n as u32).len() as u64, expected, "{share} of {n}");
        }
        let next_to_one = Holdout { rows: 1.0 - f64::EPSILON / 2.0, clients: 0.0 };
        for n in (1..5000).chain([(1 << 31) - 1, 1 << 31, u64::from(u32::MAX)]) {
            assert!(next_to_one.count(n) < n, "{n}");
        }
    }

    #[test]
    fn the_least_share_holds_out_one_row() {
        // The product of 49 and 1/49 is below 1 in f64.
        for n in [1, 2, 3, 10, 49, 60_000] {
            let least = Holdout { rows: Holdout::least_share(n), clients: 0.0 };
            assert_eq!(least.count(n), 1, "{n}");
            assert_eq!(Holdout { rows: least.rows * 0.999, clients: 0.0 }.count(n), 0, "{n}");
        }
    }

    #[test]
    fn each_client_and_seed_has_its_own_draw() {
        let rows = Vec::from_iter(0..100);
        let split = |seed, client| Holdout { rows: 0.3, clients: 0.0 }.split(&rows, seed, client);
        assert_eq!(split(1, 1), split(1, 1));
        assert_ne!(split(1, 1), split(1, 2));
        assert_ne!(split(1, 1), split(2, 1));
        let mut all = split(1, 1).rows;
        all.sort_unstable();
        assert_eq!(all, rows);
    }
}
