//! Poisson sampling: each client takes part with the same chance, on its own (McMahan 2018, section 2).
//!
//! A round may have no client: it leaves the weights as they are. Drawing again, as FedDyn's code does, would raise the
//! chance of each client above q. `--fraction` has no part in the rule.

use std::sync::Arc;

use fedpipe_random::key::{Key, unit};
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "poisson",
    summary: "each client with the same chance, on its own; a round may have no client",
    parameters: &[Parameter { key: "rate", default: None, range: Range::Share, help: "q, the chance of a client" }],
    source: "McMahan 2018, section 2",
    build: |values| Arc::new(Poisson { rate: values.number("rate") }),
};

#[derive(Debug)]
struct Poisson {
    rate: f64,
}

impl Sampler for Poisson {
    fn draw(&self, draw: &Draw<'_>) -> Vec<u32> {
        // The epochs 0 and 1 belong to other draws of the round.
        let mut rng = Key { epoch: 2, ..draw.key() }.rng();
        (0..draw.sizes.len() as u32).filter(|_| unit(&mut rng) < self.rate).collect()
    }

    fn takes_count(&self) -> bool {
        false
    }

    fn expected(&self, _: u32, all: u32) -> f64 {
        self.rate * f64::from(all)
    }

    fn least(&self, _: u32) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_chance_and_a_round_may_be_empty() {
        let sizes = [1; 20];
        let (mut of_rounds, mut times) = (Vec::new(), [0_u32; 20]);
        for round in 1..=4000 {
            let drawn = Poisson { rate: 0.1 }.draw(&Draw { seed: 3, round, count: 5, sizes: &sizes });
            assert!(drawn.is_sorted_by(|a, b| a < b));
            drawn.iter().for_each(|&client| times[client as usize] += 1);
            of_rounds.push(drawn.len() as f64);
        }
        // The binomial distribution of 20 draws: mean 2, variance 1.8, and none with the chance 0.9²⁰.
        let mean = of_rounds.iter().sum::<f64>() / 4000.0;
        assert!((mean - 2.0).abs() < 5.0 * (1.8_f64 / 4000.0).sqrt(), "{mean}");
        let empty = of_rounds.iter().filter(|clients| **clients == 0.0).count() as f64 / 4000.0;
        let expected = [0.9_f64; 20].iter().product::<f64>();
        let error = (expected * (1.0 - expected) / 4000.0).sqrt();
        assert!((empty - expected).abs() < 5.0 * error, "{empty}, expected {expected}");
        assert!(times.iter().all(|&n| (f64::from(n) - 400.0).abs() < 5.0 * 20.0), "{times:?}");
        let all = Poisson { rate: 1.0 }.draw(&Draw { seed: 3, round: 1, count: 5, sizes: &sizes });
        assert_eq!(all, Vec::from_iter(0..20));
    }
}
