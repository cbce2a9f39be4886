//! The local optimiser, as the host passes it on: the model's side gives it its meaning.

use std::sync::Arc;

use fedpipe_spec::table::{Named, Parameter, Range, TableRow, Tabled, Value};

/// A local optimiser by name with its parameters, such as `sgd:momentum=0.9` or `adam`.
pub type LocalOptimiser = Named<OptimiserRule>;

/// The facts about an optimiser that the host needs.
#[derive(Debug)]
pub struct OptimiserRule {
    /// The learning rate if none is given.
    pub default_rate: f32,
    /// `true` if a client reports the accumulated steps ‖a‖₁.
    pub accumulates: bool,
}

const DECAY: Parameter = Parameter {
    key: "weight-decay",
    default: Some(Value::Number(0.0)),
    range: Range::NotNegative,
    help: "added to the gradient, times the weight; of biases, too",
};

static ROWS: [TableRow<OptimiserRule>; 2] = [
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
        ],
        source: "Sutskever 2013",
        build: |_| Arc::new(OptimiserRule { default_rate: 0.1, accumulates: true }),
    },
    TableRow {
        name: "adam",
        summary: "with bias correction; η is 0.001 by default",
        parameters: &[
            Parameter {
                key: "beta1",
                default: Some(Value::Number(0.9)),
                range: Range::Decay,
                help: "the decay of the first moment",
            },
            Parameter {
                key: "beta2",
                default: Some(Value::Number(0.999)),
                range: Range::Decay,
                help: "the decay of the second moment",
            },
            Parameter {
                key: "epsilon",
                default: Some(Value::Number(1e-8)),
                range: Range::Positive,
                help: "added to the root of the second moment",
            },
            DECAY,
        ],
        source: "Kingma 2015, Algorithm 1",
        build: |_| Arc::new(OptimiserRule { default_rate: 0.001, accumulates: false }),
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
            ("sgd:momentum=nan", "momentum=NaN; give a number of at least 0 and below 1"),
            ("sgd:weight-decay=-1", "weight-decay=-1; give a number of at least 0"),
            ("sgd:weight-decay=inf", "weight-decay=inf; give a number of at least 0"),
            ("sgd:weight-decay=1e300", "give a number of at least 0"),
            ("adam:epsilon=0", "epsilon=0; give a number above 0"),
            ("adam:beta1=1", "beta1=1; give a number of at least 0 and below 1"),
            ("adam:beta2=-0.1", "beta2=-0.1; give a number of at least 0 and below 1"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<LocalOptimiser>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!("lion".parse::<LocalOptimiser>().unwrap_err().to_string().contains("known are sgd, adam"));
    }
}
