//! The local optimiser, as the host passes it on: the model's side gives it its meaning.

use std::{fmt, str::FromStr};

use fedpipe_spec::{
    error::{Error, Result},
    text::Text,
};
use serde_with::{DeserializeFromStr, SerializeDisplay};

/// A local optimiser by name, with the parameters that were given, such as `sgd:momentum=0.9` or `adam`.
#[derive(Debug, Clone, PartialEq, SerializeDisplay, DeserializeFromStr)]
pub struct LocalOptimiser {
    name: String,
    parameters: Vec<(String, f64)>,
}

/// A local optimiser: its name, the default of `--lr`, and its parameters.
struct Row {
    name: &'static str,
    rate: f32,
    keys: &'static [&'static str],
    /// Of each key.
    ranges: &'static [Range],
}

/// The values that a parameter may have.
#[derive(Clone, Copy)]
enum Range {
    /// At least 0 and below 1.
    Decay,
    /// At least 0.
    Penalty,
    /// Above 0.
    Positive,
}

const KNOWN: [Row; 2] = [
    Row { name: "sgd", rate: 0.1, keys: &["momentum", "weight-decay"], ranges: &[Range::Decay, Range::Penalty] },
    Row {
        name: "adam",
        rate: 0.001,
        keys: &["beta1", "beta2", "epsilon", "weight-decay"],
        ranges: &[Range::Decay, Range::Decay, Range::Positive, Range::Penalty],
    },
];

impl Range {
    /// Refuses a value outside, with what is wanted.
    fn check(self, value: f64) -> std::result::Result<(), &'static str> {
        let (fits, wanted) = match self {
            Range::Decay => ((0.0..1.0).contains(&value), "a number of at least 0 and below 1"),
            Range::Penalty => (value >= 0.0, "a number of at least 0"),
            Range::Positive => (value > 0.0, "a number above 0"),
        };
        // A client has f32.
        if fits && value.is_finite() && (value as f32).is_finite() { Ok(()) } else { Err(wanted) }
    }
}

impl LocalOptimiser {
    /// Returns the learning rate if none is given.
    pub fn default_rate(&self) -> f32 {
        KNOWN.iter().find(|row| row.name == self.name).map_or(0.1, |row| row.rate)
    }

    /// Returns the text that a client receives: a JSON object with `name` and the parameters, `-` written as `_`.
    pub fn to_json(&self) -> String {
        let parameters = self.parameters.iter().map(|(key, value)| (key.replace('-', "_"), (*value).into()));
        let name = [("name".to_owned(), self.name.clone().into())];
        serde_json::Value::Object(name.into_iter().chain(parameters).collect()).to_string()
    }
}

impl Default for LocalOptimiser {
    fn default() -> Self {
        Self { name: "sgd".into(), parameters: Vec::new() }
    }
}

impl FromStr for LocalOptimiser {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = Text::parse(text, |_| None)?;
        let Some(row) = KNOWN.iter().find(|row| row.name == text.name()) else {
            let (given, known) = (text.name().to_owned(), KNOWN.iter().map(|row| row.name).collect());
            return Err(Error::UnknownName { what: "optimiser", given, known });
        };
        text.only(row.keys)?;
        let mut parameters = Vec::new();
        for (&key, range) in row.keys.iter().zip(row.ranges) {
            let Some(value) = text.get::<f64>(key, "a number")? else { continue };
            range.check(value).map_err(|wants| {
                let what = format!("optimiser {}", row.name);
                Error::OutOfRange { what, key, value, wants }
            })?;
            parameters.push((key.to_owned(), value));
        }
        Ok(Self { name: row.name.into(), parameters })
    }
}

impl fmt::Display for LocalOptimiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<String> = self.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let colon = if parameters.is_empty() { "" } else { ":" };
        write!(f, "{}{colon}{}", self.name, parameters.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_reach_the_model_as_json() {
        let optimiser: LocalOptimiser = "sgd:weight-decay=1e-5,momentum=0.9".parse().unwrap();
        assert_eq!(optimiser.to_json(), r#"{"momentum":0.9,"name":"sgd","weight_decay":0.00001}"#);
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
