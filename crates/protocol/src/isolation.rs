//! What a client is to be confined to, and what it then is.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a client is to confine itself before it opens a dylib.
///
/// It has no default, and neither has its [`Level`]: a host that starts a client says what its user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// What happens where the kernel lacks a piece.
    pub level: Level,
    /// Bytes that the model may take; none for as many as it likes.
    pub memory_limit: Option<u64>,
    /// Seconds of processor time that the process may take; none for as many as it likes.
    pub cpu_seconds: Option<u64>,
}

/// How much isolation is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All of it, or no client.
    Require,
    /// What this kernel offers; what is missing is said.
    Auto,
    /// None. The memory and processor limits, which are asked for by themselves, still hold.
    Off,
}

/// The isolation in force: for the ledger, and as a line for the screen. By default, for a client that does not say: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl Default for InForce {
    fn default() -> Self {
        Self {
            level: Level::Off,
            landlock_abi: None,
            seccomp: false,
            no_new_privs: false,
            threads: false,
            memory_limit: None,
            cpu_seconds: None,
            missing: Vec::new(),
        }
    }
}

impl InForce {
    /// Returns the pieces of [`Level::Require`] that are not in force, with their reasons where they were given.
    pub fn lacking(&self) -> Vec<String> {
        if self.level == Level::Off {
            return vec!["all of it (its level is off)".into()];
        }
        let pieces = [
            ("Landlock", self.landlock_abi.is_some()),
            ("seccomp", self.seccomp),
            ("no new privileges", self.no_new_privs),
        ];
        let unexplained = |name: &&str| !self.missing.iter().any(|missing| missing.starts_with(*name));
        let absent = pieces.iter().filter(|(_, in_force)| !in_force).map(|(name, _)| *name).filter(unexplained);
        self.missing.iter().cloned().chain(absent.map(str::to_owned)).collect()
    }
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

    #[test]
    fn what_is_lacking_is_named() {
        let all = InForce {
            level: Level::Auto,
            landlock_abi: Some(7),
            seccomp: true,
            no_new_privs: true,
            ..InForce::default()
        };
        let reason = vec!["Landlock (a reason)".to_owned()];
        let cases: [(InForce, &[&str]); 5] = [
            (all.clone(), &[]),
            (InForce { level: Level::Off, ..all.clone() }, &["all of it (its level is off)"]),
            (InForce { landlock_abi: None, missing: reason, ..all.clone() }, &["Landlock (a reason)"]),
            (InForce { landlock_abi: None, seccomp: false, ..all }, &["Landlock", "seccomp"]),
            (serde_json::from_str("{}").unwrap(), &["all of it (its level is off)"]),
        ];
        for (in_force, expected) in cases {
            assert_eq!(in_force.lacking(), expected, "{in_force:?}");
        }
    }
}
