//! Samplers: the clients of a round. A sampler is a function of the seed, the round and the partitions, never of the
//! strategy, so that two strategies meet the same clients.

mod by_size;
mod cyclic;
mod poisson;
mod power_of_choice;
mod uniform;

use std::fmt;

use fedpipe_random::{
    key::{Key, Use},
    order::order,
};
use fedpipe_spec::table::{TableRow, Tabled};

/// The facts that a sampler may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw<'a> {
    /// The seed of the samples.
    pub seed: u64,
    /// The round, from 1.
    pub round: u64,
    /// The number of clients that a round has, from 1 to all.
    pub count: u32,
    /// The examples of each client that may be drawn, at least one client.
    pub sizes: &'a [u64],
}

impl Draw<'_> {
    /// Returns the key of the round's sample.
    fn key(&self) -> Key {
        Key { seed: self.seed, purpose: Use::Sample, client: 0, round: self.round, epoch: 0 }
    }

    /// Returns the clients that are scored after the round, if not all are: ascending, uniform without replacement.
    pub fn scored(&self) -> Vec<u32> {
        self.first_of(order(&Key { epoch: 1, ..self.key() }, self.sizes.len() as u32))
    }

    /// Returns the first clients of an `order`, ascending.
    fn first_of(&self, mut order: Vec<u32>) -> Vec<u32> {
        order.truncate(self.count as usize);
        order.sort_unstable();
        order
    }
}

/// A rule that chooses the clients of a round.
pub trait Sampler: fmt::Debug + Send + Sync {
    /// Returns the clients that are drawn for a round, ascending, each as often as it is drawn.
    fn draw(&self, draw: &Draw<'_>) -> Vec<u32>;

    /// Returns `true` if the number of clients that a round asks for has a part in the rule.
    fn takes_count(&self) -> bool {
        true
    }

    /// Returns `true` if a client may be drawn more than once for a round.
    fn repeats(&self) -> bool {
        false
    }

    /// Returns `true` if the rule can draw the successors of clients that end one by one, from those that are idle.
    fn draws_successors(&self) -> bool {
        false
    }

    /// Returns the mean number of clients that are drawn for a round, of `count` that are asked for among `all`.
    fn expected(&self, count: u32, _all: u32) -> f64 {
        f64::from(count)
    }

    /// Returns `true` if the clients that are drawn are candidates, whose losses decide the round.
    fn asks_losses(&self) -> bool {
        false
    }

    /// Returns the clients of a round, ascending, at most `count`, of candidates with the losses of the received
    /// weights.
    fn choose(&self, _count: u32, losses: &[(u32, f64)]) -> Vec<u32> {
        losses.iter().map(|(client, _)| *client).collect()
    }

    /// Returns the reason why the rule cannot draw `count` clients of `all`; `None` if it can.
    fn refusal(&self, _count: u32, _all: u32) -> Option<String> {
        None
    }

    /// Returns the fewest clients that a round may have, of `count` that are asked for.
    fn least(&self, count: u32) -> u32 {
        count
    }
}

static ROWS: [TableRow<dyn Sampler>; 5] = [uniform::ROW, by_size::ROW, poisson::ROW, cyclic::ROW, power_of_choice::ROW];

impl Tabled for dyn Sampler {
    const WHAT: &'static str = "sampler";
    const LIST: &'static str = "samplers";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::written;

    /// The vector of the README comes from `vectors.py`, which is independent of this crate.
    #[test]
    fn scored_clients_are_those_of_the_readme() {
        let scored = Draw { seed: 1, round: 1, count: 3, sizes: &[1; 10] }.scored();
        let scored: Vec<String> = scored.iter().map(u32::to_string).collect();
        assert_eq!(scored.join(" "), written("scored clients: seed 1, round 1, 3 of 10"));
    }
}
