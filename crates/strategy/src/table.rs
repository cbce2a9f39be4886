//! The strategies' names and parameters.

use std::{fmt, str::FromStr};

use fedpipe_spec::{
    error::{Error, Result},
    text::Text,
};

use crate::{server::ServerOptimiser, strategy::Strategy};

const NAMES: [&str; 3] = ["fedavg", "fedavgm", "fedadam"];

impl Default for Strategy {
    fn default() -> Self {
        Self { server: ServerOptimiser::Mean }
    }
}

impl Strategy {
    /// Returns the name in the table.
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

    fn from_str(text: &str) -> Result<Self> {
        let text = Text::parse(text, |_| None)?;
        let Some(name) = NAMES.into_iter().find(|name| *name == text.name()) else {
            let (given, known) = (text.name().to_owned(), NAMES.to_vec());
            return Err(Error::UnknownName { what: "strategy", given, known });
        };
        let positive = |key, default| number(&text, key, default, |x| x > 0.0, "a number above 0");
        let decay = |key, default| number(&text, key, default, |x| (0.0..1.0).contains(&x), "at least 0 and below 1");
        let server = match name {
            "fedavgm" => {
                text.only(&["rate", "beta", "nesterov"])?;
                let nesterov = text.get("nesterov", "true or false")?.unwrap_or(false);
                ServerOptimiser::Momentum { rate: positive("rate", 1.0)?, beta: decay("beta", 0.9)?, nesterov }
            }
            "fedadam" => {
                text.only(&["rate", "beta1", "beta2", "tau"])?;
                ServerOptimiser::Adam {
                    rate: positive("rate", 0.01)?,
                    beta1: decay("beta1", 0.9)?,
                    beta2: decay("beta2", 0.99)?,
                    tau: positive("tau", 1e-3)?,
                }
            }
            _ => {
                text.only(&[])?;
                ServerOptimiser::Mean
            }
        };
        Ok(Self { server })
    }
}

fn number(text: &Text<'_>, key: &'static str, default: f64, fits: fn(f64) -> bool, wants: &'static str) -> Result<f64> {
    let value = text.get(key, "a number")?.unwrap_or(default);
    if value.is_finite() && fits(value) {
        return Ok(value);
    }
    Err(Error::OutOfRange { what: format!("strategy {}", text.name()), key, value, wants })
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
