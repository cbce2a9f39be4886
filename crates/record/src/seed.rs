//! A seed as text, in TOML and in JSON.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// A seed. It is text above 2⁶³ − 1, which TOML has no number for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seed(pub u64);

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("give a whole number from 0 to {}", u64::MAX))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(_) => serializer.serialize_u64(self.0),
            Err(_) => serializer.collect_str(self),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a whole number from 0 to 18446744073709551615")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Ok(Self(number)),
            NumberOrText::Text(text) => {
                text.parse().map_err(|why| D::Error::custom(format!("{text:?} is no seed; {why}")))
            }
        }
    }
}
