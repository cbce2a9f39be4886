//! Gaussian noise: the change N(0, σ²) of each weight in the place of the client's own (Blanchard 2017, section 6).
//!
//! The key of the noise is that of the seed, the client and the round.

use std::sync::Arc;

use fedpipe_random::{key::Key, normal::standard};
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Attack, Attacked, FRACTION};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "gaussian",
    summary: "N(0, σ²) for each weight in the place of the client's own change",
    parameters: &[
        FRACTION,
        Parameter {
            key: "sigma",
            default: Some(Value::Number(1.0)),
            range: Range::Positive,
            help: "σ, the standard deviation of each weight's change",
        },
    ],
    source: "Blanchard 2017, section 6",
    build: |values| Arc::new(Gaussian { fraction: values.number("fraction"), sigma: values.number("sigma") }),
};

#[derive(Debug)]
struct Gaussian {
    fraction: f64,
    sigma: f64,
}

impl Attack for Gaussian {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn weights(&self, round: &Attacked<'_>, _: &dyn Math) -> Vec<Vec<f32>> {
        let noisy = |&(client, _): &(u32, &[f32])| {
            let mut rng = Key { client, ..round.key }.rng();
            round.received.iter().map(|&w| (f64::from(w) + self.sigma * standard(&mut rng)) as f32).collect()
        };
        round.own.iter().map(noisy).collect()
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_random::key::Use;

    use super::*;
    use crate::{attack::Cohort, vector_math::OneCore};

    #[test]
    fn the_changes_have_the_moments_of_the_distribution_and_each_client_its_own() {
        let received = vec![0.5_f32; 20_000];
        let own: [(u32, &[f32]); 2] = [(3, &received), (4, &received)];
        let key = Key { seed: 1, purpose: Use::Attack, client: 0, round: 1, epoch: 0 };
        let cohort = Cohort { clients: 9, attackers: 2 };
        let round = Attacked { received: &received, honest: &[], own: &own, cohort, key };
        let drawn = Gaussian { fraction: 0.2, sigma: 2.0 }.weights(&round, &OneCore);
        let count = received.len() as f64;
        for weights in &drawn {
            let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / count;
            let variance =
                weights.iter().map(|w| f64::from(*w) - mean).map(|difference| difference * difference).sum::<f64>()
                    / count;
            // Five standard errors.
            assert!((mean - 0.5).abs() < 5.0 * 2.0 / count.sqrt(), "{mean}");
            assert!((variance - 4.0).abs() < 5.0 * 4.0 * (2.0 / count).sqrt(), "{variance}");
        }
        assert_ne!(drawn[0], drawn[1]);
    }
}
