//! The memory that a model may take.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_with::SerializeDisplay;

/// The memory that a model may take.
///
/// As text: `none`, or bytes, such as `536870912`, `512M` or `2GiB`, where K, M, G and T are powers of 1024; at least
/// `1M`, since a smaller number lacks its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, SerializeDisplay)]
pub enum MemoryLimit {
    /// No limit.
    None,
    /// A number of bytes.
    Bytes(u64),
}

/// 2²⁰ bytes.
const MEBIBYTE: u64 = 1 << 20;

const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (number, power) = split(text);
        let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(1 << power));
        match bytes.filter(|&bytes| bytes >= MEBIBYTE) {
            Some(bytes) => Ok(Self::Bytes(bytes)),
            None => Err(format!("{text:?} is no limit of memory; give at least 1M, such as 512M or 2G, or none")),
        }
    }
}

/// Returns the number of a size and the power of two of its unit.
fn split(text: &str) -> (&str, u32) {
    let units = UNITS.iter().flat_map(|&(unit, power)| [(format!("{unit}iB"), power), (unit.to_owned(), power)]);
    let mut split = units.filter_map(|(unit, power)| {
        let at = text.len().checked_sub(unit.len())?;
        let (number, end) = text.split_at_checked(at)?;
        end.eq_ignore_ascii_case(&unit).then_some((number, power))
    });
    split.next().unwrap_or((text, 0))
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Bytes(bytes) = *self else { return f.write_str("none") };
        match UNITS.iter().find(|(_, power)| bytes.trailing_zeros() >= *power) {
            Some((unit, power)) => write!(f, "{}{unit}", bytes >> power),
            None => bytes.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    /// From its text, or from a number as TOML may have it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::ExecutionSection;

    #[test]
    fn a_memory_limit_is_read_as_users_write_it() {
        let cases = [
            ("none", MemoryLimit::None),
            ("1048577", MemoryLimit::Bytes((1 << 20) + 1)),
            ("512M", MemoryLimit::Bytes(512 << 20)),
            ("512m", MemoryLimit::Bytes(512 << 20)),
            ("2GiB", MemoryLimit::Bytes(2 << 30)),
            ("3000k", MemoryLimit::Bytes(3000 << 10)),
            ("1T", MemoryLimit::Bytes(1 << 40)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        for text in ["", "0", "512", "0G", "G", "-1", "1.5G", "2 G", "all", "20000000T", "1é", "2GB"] {
            let error = text.parse::<MemoryLimit>().unwrap_err();
            assert!(error.contains(&format!("{text:?}")) && error.contains("512M"), "{error}");
        }
    }

    #[test]
    fn a_memory_limit_may_be_a_number_of_toml() {
        let limit = |text: &str| toml::from_str::<ExecutionSection>(text).unwrap().memory_limit;
        assert_eq!(limit("memory-limit = 1073741824"), Some(MemoryLimit::Bytes(1 << 30)));
        assert_eq!(limit("memory-limit = '1G'"), Some(MemoryLimit::Bytes(1 << 30)));
        assert_eq!(limit(""), None);
    }
}
