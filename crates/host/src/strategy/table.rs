//! The strategies' names and parameters.

use std::{fmt, str::FromStr};

use fedpipe_data::Piece;

use super::{ServerOptimiser, Strategy};
use crate::Error;

const NAMES: [&str; 3] = ["fedavg", "fedavgm", "fedadam"];

impl Default for Strategy {
    fn default() -> Self {
        Self { server: ServerOptimiser::Mean }
    }
}

impl Strategy {
    /// The name in the table.
    pub fn name(&self) -> &'static str {
        match self.server {
            ServerOptimiser::Mean => "fedavg",
            ServerOptimiser::Momentum { .. } => "fedavgm",
            ServerOptimiser::Adam { .. } => "fedadam",
        }
    }
}

impl FromStr for Strategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let piece = Piece::parse(text, |_| None)?;
        let Some(name) = NAMES.into_iter().find(|name| *name == piece.name()) else {
            let known = NAMES.join(", ");
            return Err(Error::Usage(format!("the strategy {:?} is unknown; known are {known}", piece.name())));
        };
        let positive = |key, default| number(&piece, key, default, |x| x > 0.0, "a number above 0");
        let decay = |key, default| number(&piece, key, default, |x| (0.0..1.0).contains(&x), "at least 0 and below 1");
        let server = match name {
            "fedavgm" => {
                piece.only(&["rate", "beta", "nesterov"])?;
                let nesterov = piece.get("nesterov", "true or false")?.unwrap_or(false);
                ServerOptimiser::Momentum { rate: positive("rate", 1.0)?, beta: decay("beta", 0.9)?, nesterov }
            }
            "fedadam" => {
                piece.only(&["rate", "beta1", "beta2", "tau"])?;
                ServerOptimiser::Adam {
                    rate: positive("rate", 0.01)?,
                    beta1: decay("beta1", 0.9)?,
                    beta2: decay("beta2", 0.99)?,
                    tau: positive("tau", 1e-3)?,
                }
            }
            _ => {
                piece.only(&[])?;
                ServerOptimiser::Mean
            }
        };
        Ok(Self { server })
    }
}

fn number(
    piece: &Piece<'_>,
    key: &'static str,
    default: f64,
    fits: fn(f64) -> bool,
    wants: &str,
) -> Result<f64, Error> {
    let value = piece.get(key, "a number")?.unwrap_or(default);
    match value.is_finite() && fits(value) {
        true => Ok(value),
        false => Err(Error::Usage(format!("the strategy {} has {key}={value}; give {wants}", piece.name()))),
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.server {
            ServerOptimiser::Mean => Ok(()),
            ServerOptimiser::Momentum { rate, beta, nesterov } => {
                write!(f, ":rate={rate},beta={beta},nesterov={nesterov}")
            }
            ServerOptimiser::Adam { rate, beta1, beta2, tau } => {
                write!(f, ":rate={rate},beta1={beta1},beta2={beta2},tau={tau}")
            }
        }
    }
}

impl TryFrom<String> for Strategy {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Strategy> for String {
    fn from(strategy: Strategy) -> Self {
        strategy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_survives_its_text() {
        for text in ["fedavg", "fedavgm", "fedavgm:beta=0.5,nesterov=true", "fedadam:rate=0.1,tau=0.01"] {
            let strategy: Strategy = text.parse().unwrap();
            assert_eq!(strategy.to_string().parse::<Strategy>().unwrap(), strategy, "{text}");
        }
    }

    #[test]
    fn what_does_not_exist_is_named_with_what_does() {
        for (text, expected) in [
            ("fedfoo", "known are fedavg, fedavgm, fedadam"),
            ("fedavg:beta=1", "unknown key `beta`"),
            ("fedavgm:beta=1", "beta=1; give at least 0 and below 1"),
            ("fedadam:rate=x", "`rate=x`"),
        ] {
            let error = text.parse::<Strategy>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
