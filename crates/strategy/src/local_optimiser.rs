//! The local optimiser, as the host passes it on: the model's side gives it its meaning.

use std::{ops::RangeInclusive, sync::Arc};

use fedpipe_protocol::feature;
use fedpipe_spec::table::{Named, Parameter, Range, TableRow, Tabled, Value};

/// A local optimiser by name with its parameters, such as `sgd:momentum=0.9` or `adam`.
pub type LocalOptimiser = Named<OptimiserRule>;

/// The facts about an optimiser that the host needs.
#[derive(Debug)]
pub struct OptimiserRule {
    /// The learning rate if none is given.
    pub default_rate: f32,
    /// The momentum of SGD; none for an optimiser without an accumulation.
    momentum: Option<Momentum>,
    /// The feature that a client needs.
    pub feature: Option<&'static str>,
}

/// The momentum of SGD.
#[derive(Debug, Clone, Copy)]
struct Momentum {
    /// ρ.
    rho: f64,
    /// `true` if a step looks ahead.
    nesterov: bool,
}

impl OptimiserRule {
    /// Returns SGD with this momentum.
    fn sgd(momentum: Momentum, keep: bool) -> Self {
        let keeps = keep && momentum.rho > 0.0;
        // Gradients of earlier rounds are in a momentum that is kept, and have no factor in this round.
        let accumulated = (!keeps).then_some(momentum);
        Self { default_rate: 0.1, momentum: accumulated, feature: keeps.then_some(feature::KEEPS_MOMENTUM) }
    }

    /// Returns an optimiser without accumulation.
    fn other(feature: Option<&'static str>) -> Self {
        Self { default_rate: 0.001, momentum: None, feature }
    }

    /// Returns `true` if the momentum is kept between the rounds of a client.
    pub fn keeps_momentum(&self) -> bool {
        self.feature == Some(feature::KEEPS_MOMENTUM)
    }

    /// Returns `true` if a client reports the accumulation ‖a‖₁.
    pub fn accumulates(&self) -> bool {
        self.momentum.is_some()
    }

    /// Returns `true` if the first step is η times the gradient.
    pub fn begins_with_gradient(&self) -> bool {
        self.momentum.is_some_and(|momentum| !momentum.nesterov || momentum.rho == 0.0)
    }

    /// Returns the range of the accumulation ‖a‖₁ after so many steps (FedNova, Wang 2020, section 3); none for an
    /// optimiser that has no accumulation. `pull` is ημ of a proximal term.
    ///
    /// One end is that of the optimiser itself. The others leave room for a solver that counts each gradient once, or
    /// that uses the whole momentum from the first step on.
    pub fn accumulation(&self, steps: u64, pull: f64) -> Option<RangeInclusive<f64>> {
        let momentum = self.momentum?;
        let (own, plain) = (accumulated(steps, momentum, pull), accumulated(steps, Momentum::NONE, pull));
        Some(own.min(plain)..=own.max(plain / (1.0 - momentum.rho)))
    }
}

impl Momentum {
    const NONE: Self = Self { rho: 0.0, nesterov: false };
}

/// Returns s after so many steps of v ← ρv + g; s ← s + v from 0 with g = 1 − pull·s: the way of SGD on the constant
/// gradient 1, in units of −η. Nesterov's is s ← s + g + ρv. The steps are squared, since a client may claim any number
/// of them.
fn accumulated(mut steps: u64, Momentum { rho, nesterov }: Momentum, pull: f64) -> f64 {
    // On the column (v, s, 1): the share of g and that of the old v in a step.
    let (of_gradient, of_velocity) = if nesterov { (1.0 + rho, rho * rho) } else { (1.0, rho) };
    let step = [of_velocity, 1.0 - of_gradient * pull, of_gradient];
    let mut power = [[rho, -pull, 1.0], step, [0.0, 0.0, 1.0]];
    let mut all = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    while steps > 0 {
        if steps % 2 == 1 {
            all = product(&power, &all);
        }
        power = product(&power, &power);
        steps /= 2;
    }
    all[1][2]
}

type Matrix = [[f64; 3]; 3];

fn product(left: &Matrix, right: &Matrix) -> Matrix {
    left.map(|row| [0, 1, 2].map(|column| (0..3).map(|at| row[at] * right[at][column]).sum()))
}

const DECAY: Parameter = Parameter {
    key: "weight-decay",
    default: Some(Value::Number(0.0)),
    range: Range::NotNegative,
    help: "added to the gradient, times the weight; of biases, too",
};

const BETA1: Parameter = Parameter {
    key: "beta1",
    default: Some(Value::Number(0.9)),
    range: Range::Decay,
    help: "the decay of the first moment",
};

const BETA2: Parameter = Parameter {
    key: "beta2",
    default: Some(Value::Number(0.999)),
    range: Range::Decay,
    help: "the decay of the second moment",
};

const EPSILON: Parameter = Parameter {
    key: "epsilon",
    default: Some(Value::Number(1e-8)),
    range: Range::Positive,
    help: "added to the root of the second moment",
};

static ROWS: [TableRow<OptimiserRule>; 4] = [
    TableRow {
        name: "sgd",
        summary: "u ← ρu + g; w ← w − ηu; η is 0.1 by default",
        parameters: &[
            Parameter {
                key: "momentum",
                default: Some(Value::Number(0.0)),
                range: Range::Decay,
                help: "ρ, the momentum, without dampening",
            },
            DECAY,
            Parameter {
                key: "nesterov",
                default: Some(Value::Flag(false)),
                range: Range::Flag,
                help: "true looks ahead: w ← w − η(g + ρu)",
            },
            Parameter {
                key: "keep",
                default: Some(Value::Flag(false)),
                range: Range::Flag,
                help: "true begins a client's round with the u of its last one",
            },
        ],
        source: "Sutskever 2013",
        build: |values| {
            let momentum = Momentum { rho: values.number("momentum"), nesterov: values.flag("nesterov") };
            Arc::new(OptimiserRule::sgd(momentum, values.flag("keep")))
        },
    },
    TableRow {
        name: "adam",
        summary: "with bias correction; η is 0.001 by default",
        parameters: &[BETA1, BETA2, EPSILON, DECAY],
        source: "Kingma 2015, Algorithm 1",
        build: |_| Arc::new(OptimiserRule::other(None)),
    },
    TableRow {
        name: "adamw",
        summary: "Adam whose weight decay is w ← (1 − ηλ)w, apart from the gradient; η is 0.001 by default",
        parameters: &[
            BETA1,
            BETA2,
            EPSILON,
            Parameter {
                key: "weight-decay",
                default: Some(Value::Number(0.01)),
                range: Range::NotNegative,
                help: "λ; of biases, too",
            },
        ],
        source: "Loshchilov 2019, Algorithm 2",
        build: |_| Arc::new(OptimiserRule::other(None)),
    },
    TableRow {
        name: "own",
        summary: "the optimiser that a client of your own brings; η is 0.001 by default",
        parameters: &[],
        source: "the client",
        build: |_| Arc::new(OptimiserRule::other(Some(feature::OWN_OPTIMISER))),
    },
];

impl Tabled for OptimiserRule {
    const WHAT: &'static str = "optimiser";
    const LIST: &'static str = "optimisers";

    fn rows() -> &'static [TableRow<Self>] {
        &ROWS
    }
}

/// Returns the text that a client receives: a JSON object with `name` and the parameters whose values are not the
/// default, `-` written as `_`.
pub fn to_json(optimiser: &LocalOptimiser) -> String {
    let value = |value| match value {
        Value::Number(number) => number.into(),
        Value::Flag(flag) => flag.into(),
        Value::Text(text) => text.into_owned().into(),
    };
    let parameters = optimiser.changed().map(|(key, given)| (key.replace('-', "_"), value(given)));
    let name = [("name".to_owned(), optimiser.name().into())];
    serde_json::Value::Object(name.into_iter().chain(parameters).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_reach_the_model_as_json() {
        let optimiser: LocalOptimiser = "sgd:weight-decay=1e-5,momentum=0.9".parse().unwrap();
        assert_eq!(to_json(&optimiser), r#"{"momentum":0.9,"name":"sgd","weight_decay":0.00001}"#);
        assert_eq!(optimiser.to_string().parse::<LocalOptimiser>().unwrap(), optimiser);
        assert!("sgd:beta1=1".parse::<LocalOptimiser>().unwrap_err().to_string().contains("momentum, weight-decay"));
        let cases = [
            ("sgd:momentum=1.5", "momentum=1.5; give a number of at least 0 and below 1"),
            ("sgd:momentum=nan", "momentum=nan; give a number of at least 0 and below 1"),
            ("sgd:weight-decay=-1", "weight-decay=-1; give a number of at least 0"),
            ("sgd:weight-decay=inf", "weight-decay=inf; give a number of at least 0"),
            ("sgd:weight-decay=1e300", "give a number of at least 0"),
            ("adam:epsilon=0", "epsilon=0; give a number above 0"),
            ("adam:beta1=1", "beta1=1; give a number of at least 0 and below 1"),
            ("adamw:weight-decay=-1", "weight-decay=-1; give a number of at least 0"),
            ("adam:beta2=-0.1", "beta2=-0.1; give a number of at least 0 and below 1"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<LocalOptimiser>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!("lion".parse::<LocalOptimiser>().unwrap_err().to_string().contains("known are sgd, adam, adamw, own"));
    }

    #[test]
    fn an_optimiser_names_the_feature_that_it_needs() {
        let optimiser = |text: &str| text.parse::<LocalOptimiser>().unwrap();
        let kept = optimiser("sgd:momentum=0.5,keep=true");
        assert_eq!(to_json(&kept), r#"{"keep":true,"momentum":0.5,"name":"sgd"}"#);
        assert_eq!((kept.keeps_momentum(), kept.feature), (true, Some("keeps-momentum")));
        assert_eq!((optimiser("own").keeps_momentum(), optimiser("own").feature), (false, Some("own-optimiser")));
        // Without a momentum there is nothing to keep.
        assert_eq!(["sgd:keep=true", "sgd:momentum=0.5", "adam"].map(|text| optimiser(text).feature), [None; 3]);
    }

    #[test]
    fn the_accumulation_is_between_the_closed_forms_of_the_solvers() {
        let range = |optimiser: &str, steps, pull| {
            let range = optimiser.parse::<LocalOptimiser>().unwrap().accumulation(steps, pull)?;
            Some(range.into_inner())
        };
        let near = |range: Option<(f64, f64)>, least: f64, most: f64| {
            let (from, to) = range.unwrap();
            assert!((from / least - 1.0).abs() < 1e-12 && (to / most - 1.0).abs() < 1e-12, "{from} to {to}: {least}");
        };
        near(range("sgd", 7, 0.0), 7.0, 7.0);
        // (K − ρ(1 − ρᴷ)/(1 − ρ))/(1 − ρ), and (1 − (1 − ημ)ᴷ)/(ημ)
        let own = (4.0 - 0.5 * (1.0 - 0.0625) / 0.5) / 0.5;
        near(range("sgd:momentum=0.5", 4, 0.0), 4.0, 8.0);
        let momentum = |rho, nesterov| Momentum { rho, nesterov };
        assert!((accumulated(4, momentum(0.5, false), 0.0) - own).abs() < 1e-12);
        // Σ 1 + ρ v_t = K + ρ · the sum of v.
        assert!((accumulated(4, momentum(0.5, true), 0.0) - (4.0 + 0.5 * own)).abs() < 1e-12);
        let pulled = (1.0 - 0.95 * 0.95 * 0.95) / 0.05;
        near(range("sgd", 3, 0.05), pulled, pulled);
        for nesterov in [false, true] {
            let (mut sum, mut velocity) = (0.0, 0.0);
            let optimiser = format!("sgd:momentum=0.9,nesterov={nesterov}");
            for steps in 1..=100 {
                let gradient = 1.0 - 0.05 * sum;
                velocity = 0.9 * velocity + gradient;
                sum += if nesterov { gradient + 0.9 * velocity } else { velocity };
                let (least, most) = range(&optimiser, steps, 0.05).unwrap();
                let squared = accumulated(steps, momentum(0.9, nesterov), 0.05);
                assert!((squared - sum).abs() < 1e-9, "{steps} steps: {sum}");
                assert!(least <= sum + 1e-9 && sum <= most + 1e-9, "{steps} steps: {sum}, {least} to {most}");
            }
        }
        near(range("sgd", 1 << 50, 0.0), (1_u64 << 50) as f64, (1_u64 << 50) as f64);
        for without in ["adam", "adamw", "own", "sgd:momentum=0.5,keep=true"] {
            assert_eq!(range(without, 7, 0.0), None, "{without}");
        }
    }
}
