//! Numbers that JSON and a picture can hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number that is neither NaN nor infinite. The ledger and the summary hold no other.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Finite(f64);

impl Finite {
    /// The number 0.
    pub const ZERO: Self = Self(0.0);

    /// Returns the number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A number is NaN or infinite.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not finite")]
pub struct NotFinite(pub f64);

impl TryFrom<f64> for Finite {
    type Error = NotFinite;

    fn try_from(number: f64) -> Result<Self, NotFinite> {
        if number.is_finite() { Ok(Self(number)) } else { Err(NotFinite(number)) }
    }
}

impl From<Finite> for f64 {
    fn from(Finite(number): Finite) -> f64 {
        number
    }
}

impl From<Duration> for Finite {
    /// The seconds of `time`.
    fn from(time: Duration) -> Self {
        Self(time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_every_finite_number_and_no_other() {
        for number in [0.1 + 0.2, f64::MAX, -0.0, f64::MIN_POSITIVE] {
            let finite = Finite::try_from(number).unwrap();
            let json = serde_json::to_string(&finite).unwrap();
            assert_eq!(serde_json::from_str::<Finite>(&json).unwrap().get().to_bits(), number.to_bits(), "{json}");
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Finite::try_from(number).is_err());
        }
        for json in ["null", "1e999"] {
            assert!(serde_json::from_str::<Finite>(json).is_err(), "{json}");
        }
    }
}
