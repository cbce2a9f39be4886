//! What the clients of a run are confined to: what users ask for, and what holds where they ask for nothing.

use std::{fmt, str::FromStr};

use fedpipe_protocol::{Isolation, Level};
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::experiment::container;

/// How much memory a model may take.
///
/// As text: `none`, or bytes, such as `536870912`, `512M` or `2GiB`, where K, M, G and T are powers of 1024; at least
/// `1M`, since a smaller number lacks its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// As much as it likes.
    None,
    /// So many bytes.
    Bytes(u64),
}

const MEBIBYTE: u64 = 1 << 20;

const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

/// The default is never less: the libraries and the stack of a model that takes little memory take as much of the address
/// space, which is what the kernel counts.
const LEAST: u64 = 256 * MEBIBYTE;

/// Returns what each of so many client processes on this machine is told, from what their user asks for.
pub fn isolation(level: Level, memory_limit: Option<MemoryLimit>, cpu_limit: Option<u64>, processes: u32) -> Isolation {
    let memory_limit = match memory_limit {
        Some(MemoryLimit::None) => None,
        Some(MemoryLimit::Bytes(bytes)) => Some(bytes),
        None => share(processes),
    };
    Isolation { level, memory_limit, cpu_seconds: cpu_limit }
}

/// Half of this machine's memory over the processes, in whole MiB.
fn share(processes: u32) -> Option<u64> {
    let bytes = memory()? / 2 / u64::from(processes.max(1));
    Some((bytes / MEBIBYTE * MEBIBYTE).max(LEAST))
}

/// Bytes of this machine's memory, or of this container's where it may have less.
fn memory() -> Option<u64> {
    let value = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
    let machine = value(SysconfVar::_PHYS_PAGES)?.checked_mul(value(SysconfVar::PAGE_SIZE)?)?;
    Some(container::memory_limit().map_or(machine, |limit| limit.min(machine)))
}

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

/// The number of a size and the power of two of its unit.
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

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
    use crate::experiment::Experiment;

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
        let limit = |text: &str| toml::from_str::<Experiment>(text).unwrap().memory_limit;
        assert_eq!(limit("memory-limit = 1073741824"), Some(MemoryLimit::Bytes(1 << 30)));
        assert_eq!(limit("memory-limit = '1G'"), Some(MemoryLimit::Bytes(1 << 30)));
        assert_eq!(limit(""), None);
    }

    #[test]
    fn a_client_may_take_its_share_of_half_the_memory_by_default() {
        let limit = |processes, limit| isolation(Level::Auto, limit, None, processes).memory_limit;
        let memory = memory().unwrap();
        for processes in [1, 2, 1000] {
            let bytes = limit(processes, None).unwrap();
            let share = memory / 2 / u64::from(processes);
            assert!(bytes == LEAST && share < LEAST || (share - bytes) < MEBIBYTE, "{processes}: {bytes} of {memory}");
        }
        assert_eq!(limit(1, Some(MemoryLimit::Bytes(7))), Some(7));
        assert_eq!(limit(1, Some(MemoryLimit::None)), None);
    }
}
