//! What a client is to be confined to, and what it then is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a client is to confine itself before it opens a dylib.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// What happens where the kernel lacks a piece.
    pub level: Level,
    /// Bytes that the model may take; none for as many as it likes.
    pub memory_limit: Option<u64>,
    /// Seconds of processor time that the process may take; none for as many as it likes.
    pub cpu_seconds: Option<u64>,
}

/// How much isolation is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All of it, or no client.
    Require,
    /// What this kernel offers; what is missing is said.
    #[default]
    Auto,
    /// None. The memory and processor limits, which are asked for by themselves, still hold.
    Off,
}

/// What is in force: for the ledger, and as a line for the screen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InForce {
    /// What was asked for.
    pub level: Level,
    /// The version of Landlock's interface that is enforced.
    pub landlock_abi: Option<u32>,
    /// Whether the list of system calls is enforced.
    pub seccomp: bool,
    /// Whether this process can never gain privileges.
    pub no_new_privs: bool,
    /// Whether the model may start threads.
    pub threads: bool,
    /// As it was asked for, where it is enforced.
    pub memory_limit: Option<u64>,
    /// As it was asked for, where it is enforced.
    pub cpu_seconds: Option<u64>,
    /// What was asked for and is not in force, with the reason.
    pub missing: Vec<String>,
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "require" => Ok(Self::Require),
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => Err(format!("{text:?} is no level of isolation; known are require, auto, off")),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Require => "require",
            Self::Auto => "auto",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for InForce {
    /// One line, such as `Landlock 7, seccomp, no new privileges, memory 2048 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces = [
            self.landlock_abi.map(|abi| format!("Landlock {abi}")),
            self.seccomp.then(|| "seccomp".into()),
            self.no_new_privs.then(|| "no new privileges".into()),
            (self.level != Level::Off && self.threads).then(|| "threads allowed".into()),
            self.memory_limit.map(|bytes| format!("memory {} MiB", bytes >> 20)),
            self.cpu_seconds.map(|seconds| format!("{seconds} s of processor time")),
        ];
        let pieces: Vec<String> = pieces.into_iter().flatten().collect();
        f.write_str(if pieces.is_empty() { "none" } else { "" })?;
        f.write_str(&pieces.join(", "))?;
        match self.missing.is_empty() {
            true => Ok(()),
            false => write!(f, "; missing: {}", self.missing.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_one_line() {
        let mut force = InForce { landlock_abi: Some(7), seccomp: true, no_new_privs: true, ..InForce::default() };
        force.memory_limit = Some(2 << 30);
        assert_eq!(force.to_string(), "Landlock 7, seccomp, no new privileges, memory 2048 MiB");
        let without = InForce { missing: vec!["Landlock (a reason)".into()], seccomp: true, ..InForce::default() };
        assert_eq!(without.to_string(), "seccomp; missing: Landlock (a reason)");
        assert_eq!(InForce { level: Level::Off, threads: true, ..InForce::default() }.to_string(), "none");
    }
}
