//! The clients whose held-out examples are scored.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

use crate::key_value::KeyValue;

/// The clients whose held-out examples are scored: `all`, `sampled`, or a number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum EvaluatedClients {
    /// All clients that train.
    All,
    /// The clients whose updates the round aggregated.
    Sampled,
    /// So many of the clients that train, drawn anew each time.
    Count(u32),
}

impl fmt::Display for EvaluatedClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Sampled => f.write_str("sampled"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl FromStr for EvaluatedClients {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "sampled" => Ok(Self::Sampled),
            number => number
                .parse()
                .map(Self::Count)
                .map_err(|_| format!("{number:?} is neither all, sampled nor a number of clients; give one of them")),
        }
    }
}

/// Reads a text, or a number as `--set` writes it.
impl<'de> Deserialize<'de> for EvaluatedClients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// The visitor of a text or a number.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = EvaluatedClients;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all, sampled or a number of clients")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<EvaluatedClients, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<EvaluatedClients, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<EvaluatedClients, E> {
        self.visit_str(&number.to_string())
    }
}

impl From<EvaluatedClients> for String {
    fn from(clients: EvaluatedClients) -> Self {
        clients.to_string()
    }
}

impl KeyValue for EvaluatedClients {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_are_read_back() {
        for (json, expected) in [
            ("\"all\"", EvaluatedClients::All),
            ("\"sampled\"", EvaluatedClients::Sampled),
            ("\"3\"", EvaluatedClients::Count(3)),
            ("3", EvaluatedClients::Count(3)),
        ] {
            let read: EvaluatedClients = serde_json::from_str(json).unwrap();
            assert_eq!(read, expected);
            assert_eq!(read.to_string().parse(), Ok(expected));
        }
        let why = "some".parse::<EvaluatedClients>().unwrap_err();
        assert_eq!(why, "\"some\" is neither all, sampled nor a number of clients; give one of them");
    }
}
