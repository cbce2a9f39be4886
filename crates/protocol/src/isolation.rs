//! The isolation that is requested of a client, and the isolation that the kernel enforces on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The isolation that a client must set up before it opens a dylib.
///
/// This type and [`Level`] have no default: the host must state the user's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The action if the kernel lacks a mechanism.
    pub level: Level,
    /// The memory limit of the model in bytes; `None` for no limit.
    pub memory_limit: Option<u64>,
    /// The limit of processor time in seconds; `None` for no limit.
    pub cpu_seconds: Option<u64>,
}

/// The level of isolation that is requested.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display, strum::EnumString, strum::VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Level {
    /// Every mechanism must be available; otherwise the client does not start.
    Require,
    /// Every mechanism that the kernel offers. The client reports the missing ones.
    Auto,
    /// No isolation. The limits of memory and processor time still hold.
    Off,
}

/// The isolation in force. `Display` writes one line; the ledger holds the JSON.
///
/// The default is no isolation. It stands for a client that reports nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InForce {
    /// The requested level.
    pub level: Level,
    /// The version of the Landlock ABI that is enforced; `None` without Landlock.
    pub landlock_abi: Option<u32>,
    /// `true` if the filter of system calls is enforced.
    pub seccomp: bool,
    /// `true` if the process can never gain privileges.
    pub no_new_privs: bool,
    /// `true` if the model may start threads.
    pub threads: bool,
    /// The enforced memory limit in bytes.
    pub memory_limit: Option<u64>,
    /// The enforced limit of processor time in seconds.
    pub cpu_seconds: Option<u64>,
    /// The mechanisms that were requested and are not in force, each with the reason.
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
    /// Returns the mechanisms of [`Level::Require`] that are not in force, with the reason if the client gave one.
    pub fn lacking(&self) -> Vec<String> {
        if self.level == Level::Off {
            return vec!["all of it (its level is off)".into()];
        }
        let mechanisms = [
            ("Landlock", self.landlock_abi.is_some()),
            ("seccomp", self.seccomp),
            ("no new privileges", self.no_new_privs),
        ];
        let unexplained = |name: &&str| !self.missing.iter().any(|missing| missing.starts_with(*name));
        let absent = mechanisms.iter().filter(|(_, in_force)| !in_force).map(|(name, _)| *name).filter(unexplained);
        self.missing.iter().cloned().chain(absent.map(str::to_owned)).collect()
    }
}

impl fmt::Display for InForce {
    /// Writes one line, such as `Landlock 7, seccomp, no new privileges, memory 2048 MiB`.
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
        if self.missing.is_empty() { Ok(()) } else { write!(f, "; missing: {}", self.missing.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_isolation_in_force_is_one_line() {
        let mut force = InForce { landlock_abi: Some(7), seccomp: true, no_new_privs: true, ..InForce::default() };
        force.memory_limit = Some(2 << 30);
        assert_eq!(force.to_string(), "Landlock 7, seccomp, no new privileges, memory 2048 MiB");
        let without = InForce { missing: vec!["Landlock (a reason)".into()], seccomp: true, ..InForce::default() };
        assert_eq!(without.to_string(), "seccomp; missing: Landlock (a reason)");
        assert_eq!(InForce { level: Level::Off, threads: true, ..InForce::default() }.to_string(), "none");
    }

    #[test]
    fn each_missing_mechanism_is_named() {
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
