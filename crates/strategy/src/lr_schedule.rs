//! The schedule of the local learning rate over the rounds: a pure function of the round and the last round.
//!
//! A client trains at one rate in a round. The terms that divide by η use the rate of their round.

use std::{f64::consts::PI, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, TableRow, Tabled, Value};

/// The learning rates of the rounds, as shares of `--lr`.
#[derive(Debug)]
pub struct LrSchedule {
    /// The rounds before the curve begins, over which the rate rises.
    warmup: u64,
    curve: Curve,
}

/// The share of `--lr` after the warm-up.
#[derive(Debug, Clone, Copy)]
enum Curve {
    Constant,
    Step { every: u64, factor: f64 },
    Cosine { to: f64 },
    Exponential { factor: f64 },
}

impl LrSchedule {
    /// Returns the local learning rate of a round, from 1, of a run whose last round is `last`. The rate is at least
    /// the smallest normal f32, since client terms divide by it.
    pub fn rate(&self, lr: f32, round: u64, last: u64) -> f32 {
        let share = match round.checked_sub(self.warmup + 1) {
            Some(after) => self.curve.share(after, last.saturating_sub(self.warmup)),
            None => round as f64 / (self.warmup + 1) as f64,
        };
        let rate = (f64::from(lr) * share) as f32;
        if rate < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { rate }
    }

    /// Returns `true` if all rounds have the same rate.
    pub fn is_constant(&self) -> bool {
        self.warmup == 0 && matches!(self.curve, Curve::Constant)
    }

    /// Returns `true` if a rate depends on the last round. Another number of rounds is then another experiment.
    pub fn needs_last_round(&self) -> bool {
        matches!(self.curve, Curve::Cosine { .. })
    }
}

impl Curve {
    /// Returns the share in the round that comes so many rounds after the warm-up, of `rounds` that follow it.
    fn share(self, after: u64, rounds: u64) -> f64 {
        match self {
            Curve::Constant => 1.0,
            Curve::Step { every, factor } => libm::pow(factor, (after / every) as f64),
            Curve::Cosine { to } => to + (1.0 - to) * (1.0 + libm::cos(PI * after as f64 / rounds as f64)) / 2.0,
            Curve::Exponential { factor } => libm::pow(factor, after as f64),
        }
    }
}

const WARMUP: Parameter = Parameter {
    key: "warmup",
    default: Some(Value::Number(0.0)),
    range: Range::WholeNumber,
    help: "the rounds N before the schedule, of which round t has the share t/(N + 1)",
};

const FACTOR: Parameter = Parameter { key: "factor", default: None, range: Range::Share, help: "the factor" };

static ROWS: [TableRow<LrSchedule>; 4] = [
    TableRow {
        name: "constant",
        summary: "η in each round",
        parameters: &[WARMUP],
        source: "McMahan 2017, Algorithm 1",
        build: |values| built(values, Curve::Constant),
    },
    TableRow {
        name: "step",
        summary: "η is multiplied by a factor every so many rounds",
        parameters: &[
            Parameter {
                key: "every",
                default: None,
                range: Range::Count,
                help: "the rounds from one factor to the next",
            },
            FACTOR,
            WARMUP,
        ],
        source: "PyTorch, StepLR",
        build: |values| {
            let (every, factor) = (values.count("every").into(), values.number("factor"));
            built(values, Curve::Step { every, factor })
        },
    },
    TableRow {
        name: "cosine",
        summary: "η falls to a share of it by half a cosine, which ends one round after the last",
        parameters: &[
            Parameter {
                key: "to",
                default: Some(Value::Number(0.0)),
                range: Range::Decay,
                help: "the share of η at the end",
            },
            WARMUP,
        ],
        source: "Loshchilov 2017, equation 5",
        build: |values| built(values, Curve::Cosine { to: values.number("to") }),
    },
    TableRow {
        name: "exponential",
        summary: "η is multiplied by a factor each round",
        parameters: &[FACTOR, WARMUP],
        source: "PyTorch, ExponentialLR",
        build: |values| built(values, Curve::Exponential { factor: values.number("factor") }),
    },
];

fn built(values: &fedpipe_spec::table::Values, curve: Curve) -> Arc<LrSchedule> {
    Arc::new(LrSchedule { warmup: values.count("warmup").into(), curve })
}

impl Tabled for LrSchedule {
    const WHAT: &'static str = "learning rate schedule";
    const LIST: &'static str = "lr-schedules";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;

    fn schedule(text: &str) -> Named<LrSchedule> {
        text.parse().unwrap()
    }

    /// `lr_schedules.py` prints the rates of PyTorch's own schedulers, in f64.
    #[test]
    fn the_rates_are_those_of_pytorch() {
        let mut schedules = 0;
        for row in include_str!("../lr_schedules.csv").lines().skip(1) {
            let (text, rates) = row.split_once(';').unwrap();
            let rates: Vec<f64> = rates.split(' ').map(|rate| rate.parse().unwrap()).collect();
            let last = rates.len() as u64;
            for (round, rate) in (1..).zip(rates) {
                let ours = f64::from(schedule(text).rate(0.1, round, last));
                assert!((ours / rate - 1.0).abs() < 1e-7, "{text}, round {round}: {ours}, expected {rate}");
            }
            schedules += 1;
        }
        assert_eq!(schedules, 8);
    }

    #[test]
    fn a_constant_rate_has_the_bits_of_the_flag_and_no_rate_is_0() {
        assert_eq!([1, 7, 1 << 40].map(|round| schedule("constant").rate(0.1, round, 5)), [0.1; 3]);
        assert_eq!(schedule("exponential:0.5").rate(0.1, u64::MAX, 5), f32::MIN_POSITIVE);
        // A run that was resumed with fewer rounds than its warm-up has.
        assert_eq!(schedule("cosine:to=0.5,warmup=3").rate(1.0, 2, 2), 0.5);
    }

    #[test]
    fn a_schedule_says_what_it_depends_on() {
        let facts = ["constant", "constant:warmup=1", "cosine", "step:every=2,factor=0.5"]
            .map(|text| (schedule(text).is_constant(), schedule(text).needs_last_round()));
        assert_eq!(facts, [(true, false), (false, false), (false, true), (false, false)]);
        assert_eq!(schedule("cosine").to_string().parse::<Named<LrSchedule>>().unwrap(), schedule("cosine:to=0"));
    }
}
