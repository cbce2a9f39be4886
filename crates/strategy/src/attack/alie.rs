//! A little is enough, ALIE (Baruch 2019, Algorithm 3): mean − z · std of the honest updates, for each weight.
//!
//! The standard deviation has h − 1 in its divisor, of h honest updates, and is 0 for one. With N clients and M that
//! attack, z is Φ⁻¹((N − ⌊N/2 + 1⌋)/(N − M)) by default. It is not above 0 where M clients need no supporters; such a z
//! is refused. ByzFL has mean + 1.5 std.

use std::{borrow::Cow, sync::Arc};

use fedpipe_random::normal::quantile;
use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Attack, Attacked, Cohort, FRACTION, shared};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Attack> = TableRow {
    name: "alie",
    summary: "mean − z · std of the honest updates, for each weight",
    parameters: &[
        FRACTION,
        Parameter {
            key: "z",
            default: Some(Value::Text(Cow::Borrowed("auto"))),
            range: Range::NumberOr {
                number: &Range::Positive,
                word: "auto",
                wants: "a number above 0, or auto for that of the paper",
            },
            help: "z, the distance from the mean in standard deviations",
        },
    ],
    source: "Baruch 2019, Algorithm 3",
    build: |values| Arc::new(Alie { fraction: values.number("fraction"), z: values.number_or_word("z") }),
};

#[derive(Debug)]
struct Alie {
    fraction: f64,
    /// The distance; none for that of the paper.
    z: Option<f64>,
}

/// Returns the z of the paper.
fn computed(Cohort { clients, attackers }: Cohort) -> f64 {
    let supporters = clients - (clients / 2 + 1).min(clients);
    quantile(f64::from(supporters) / f64::from(clients - attackers))
}

impl Attack for Alie {
    fn fraction(&self) -> f64 {
        self.fraction
    }

    fn needs_honest(&self) -> bool {
        true
    }

    fn weights(&self, round: &Attacked<'_>, math: &dyn Math) -> Vec<Vec<f32>> {
        let rows: Vec<&[f32]> = round.honest.iter().map(|(_, weights)| *weights).collect();
        let z = self.z.unwrap_or_else(|| computed(round.cohort));
        let shifted = |rows: &[&[f32]], out: &mut [f32]| {
            for (index, out) in out.iter_mut().enumerate() {
                let values = || rows.iter().map(|row| f64::from(row[index]));
                let mean = values().sum::<f64>() / rows.len() as f64;
                let squares: f64 = values().map(|value| (value - mean) * (value - mean)).sum();
                let deviation = (squares / (rows.len() as f64 - 1.0).max(1.0)).sqrt();
                *out = (mean - z * deviation) as f32;
            }
        };
        shared(round, (!rows.is_empty()).then(|| math.by_block(&rows, &shifted)))
    }

    fn refusal(&self, clients: u32, attackers: &[u32]) -> Option<String> {
        let cohort = Cohort { clients, attackers: attackers.len() as u32 };
        let z = self.z.unwrap_or_else(|| computed(cohort));
        (!attackers.is_empty() && z <= 0.0).then(|| {
            format!(
                "the attack alie has z = {z:.2} where the attackers are {} and the clients {clients}, so that they need \
                 no supporters; give a greater fraction, or a z of your own such as z=1.5",
                attackers.len()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::testing::{HONEST, attacked};

    /// The means are 2 and 2, the standard deviations 1 and 3.
    #[test]
    fn each_weight_is_some_deviations_below_the_honest_mean() {
        assert_eq!(attacked("alie:fraction=0.3,z=1.5", &HONEST), [[0.5, -2.5]; 2]);
        let z = quantile(4.0 / 7.0) as f32;
        let auto = attacked("alie:0.3", &HONEST);
        assert!((auto[0][0] - (2.0 - z)).abs() < 1e-6 && (auto[1][1] - (2.0 - 3.0 * z)).abs() < 1e-6, "{auto:?}");
        assert_eq!(attacked("alie:0.3", &HONEST[1..2]), [[1.0, 5.0]; 2]);
        assert_eq!(attacked("alie:0.3", &[]), [[2.0, 3.0], [0.0, 2.0]]);
    }

    /// `robust_rules.py` prints the same values from SciPy's normal quantile.
    #[test]
    fn z_is_that_of_the_paper_and_refused_where_it_is_not_above_0() {
        for (clients, attackers, expected) in
            [(10, 1, -0.139_710), (10, 2, 0.0), (10, 3, 0.180_012), (20, 4, 0.157_311), (20, 6, 0.366_106)]
        {
            let z = computed(Cohort { clients, attackers });
            assert!((z - expected).abs() < 1e-6, "{clients}, {attackers}: {z}");
            let all: Vec<u32> = (0..attackers).collect();
            let refused = Alie { fraction: 0.1, z: None }.refusal(clients, &all);
            assert_eq!(refused.is_some(), z <= 0.0);
            assert_eq!(Alie { fraction: 0.1, z: Some(1.5) }.refusal(clients, &all), None);
        }
        let why = Alie { fraction: 0.1, z: None }.refusal(10, &[3]).unwrap();
        assert!(
            why.contains("alie has z = -0.14 where the attackers are 1 and the clients 10") && why.contains("z=1.5"),
            "{why}"
        );
    }
}
