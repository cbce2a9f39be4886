//! Poisson sampling: each client takes part with the same chance, on its own (McMahan 2018, section 2).
//!
//! A draw without a client is drawn again, as FedDyn's code does, so that each round has a client. `--fraction` has no
//! part in the rule.

use std::sync::Arc;

use fedpipe_random::key::{Key, unit};
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "poisson",
    summary: "each client with the same chance, on its own; drawn again if there is none",
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
        let key = draw.key();
        // The epochs 0 and 1 belong to other draws of the round.
        let attempts = (2..).map(|epoch| {
            let mut rng = Key { epoch, ..key }.rng();
            (0..draw.sizes.len() as u32).filter(|_| unit(&mut rng) < self.rate).collect::<Vec<_>>()
        });
        attempts.into_iter().find(|drawn| !drawn.is_empty()).unwrap_or_default()
    }

    fn least(&self, _: u32) -> u32 {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_chance_and_no_round_is_empty() {
        let sizes = [1; 20];
        let (mut of_rounds, mut times) = (Vec::new(), [0_u32; 20]);
        for round in 1..=4000 {
            let drawn = Poisson { rate: 0.1 }.draw(&Draw { seed: 3, round, count: 5, sizes: &sizes });
            assert!(!drawn.is_empty() && drawn.is_sorted_by(|a, b| a < b));
            drawn.iter().for_each(|&client| times[client as usize] += 1);
            of_rounds.push(drawn.len() as f64);
        }
        // The binomial distribution of 20 draws without 0: mean 2 / (1 − 0.9²⁰).
        let mean = of_rounds.iter().sum::<f64>() / 4000.0;
        let expected = 2.0 / (1.0 - [0.9_f64; 20].iter().product::<f64>());
        assert!((mean - expected).abs() < 5.0 * (1.8_f64 / 4000.0).sqrt(), "{mean}, expected {expected}");
        let each = expected / 20.0 * 4000.0;
        assert!(times.iter().all(|&n| (f64::from(n) - each).abs() < 5.0 * each.sqrt()), "{times:?}");
        let all = Poisson { rate: 1.0 }.draw(&Draw { seed: 3, round: 1, count: 5, sizes: &sizes });
        assert_eq!(all, Vec::from_iter(0..20));
    }
}
