//! The local optimiser, as the host passes it on: the model's side gives it its meaning.

use std::{fmt, str::FromStr};

use fedpipe_data::Piece;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A local optimiser by name, with the parameters that were given, such as `sgd:momentum=0.9` or `adam`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalOptimiser {
    name: String,
    parameters: Vec<(String, f64)>,
}

const KNOWN: [(&str, &[&str]); 2] =
    [("sgd", &["momentum", "weight-decay"]), ("adam", &["beta1", "beta2", "epsilon", "weight-decay"])];

impl LocalOptimiser {
    /// What a client is told: a JSON object with `name` and the parameters, `-` written as `_`.
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

    fn from_str(text: &str) -> Result<Self, Error> {
        let piece = Piece::parse(text, |_| None)?;
        let Some((name, keys)) = KNOWN.iter().find(|(name, _)| *name == piece.name()) else {
            let known = KNOWN.map(|(name, _)| name).join(", ");
            return Err(Error::Usage(format!("the optimiser {:?} is unknown; known are {known}", piece.name())));
        };
        piece.only(keys)?;
        let parameter =
            |key: &&'static str| Some(piece.get(key, "a number").transpose()?.map(|value| ((*key).to_owned(), value)));
        let parameters = keys.iter().filter_map(parameter).collect::<Result<_, _>>()?;
        Ok(Self { name: (*name).into(), parameters })
    }
}

impl fmt::Display for LocalOptimiser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<String> = self.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let colon = if parameters.is_empty() { "" } else { ":" };
        write!(f, "{}{colon}{}", self.name, parameters.join(","))
    }
}

impl TryFrom<String> for LocalOptimiser {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<LocalOptimiser> for String {
    fn from(optimiser: LocalOptimiser) -> Self {
        optimiser.to_string()
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
        assert!("lion".parse::<LocalOptimiser>().unwrap_err().to_string().contains("known are sgd, adam"));
    }
}
