//! What the kernel enforces on a client before its dylib is opened, whose constructors run at load.
//!
//! Landlock decides which files may be read (the dylib, the system's libraries, this client's own data) and closes the
//! rest of the file system, TCP, abstract sockets and signals; seccomp lets through only the system calls of
//! arithmetic; limits bound memory and time. Neither of the first two is enough alone: Landlock lets UDP through, and
//! seccomp cannot tell one path from another. `crates/client/README.md` has the attempts and what stops each.

mod calls;
mod files;
mod float;
mod libraries;
mod limits;
mod program;

use std::path::PathBuf;

use fedpipe_protocol::{InForce, Level};
use serde::{Deserialize, Serialize};

use calls::Calls;
pub use float::restore_float_control;
pub use program::Program;

/// The confinement of a client; by default all that there is, with nothing to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What happens where the kernel lacks a piece.
    pub level: Level,
    /// Files it may read: the dylib, its partitions, the test set.
    pub readable: Vec<PathBuf>,
    /// Whether the model may start threads. They count neither as processes nor for order: sums are the model's care.
    pub threads: bool,
    /// Bytes of address space for the model, above what is mapped at the time and above the readable files.
    pub memory_limit: Option<u64>,
    /// Seconds of processor time.
    pub cpu_seconds: Option<u64>,
    /// Given where this process is to become a program of the user's, which needs more: it is executed, may start threads,
    /// and its memory is counted as data and not as address space, of which interpreters reserve more than they use.
    pub program: Option<Program>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            level: Level::Require,
            readable: Vec::new(),
            threads: false,
            memory_limit: None,
            cpu_seconds: None,
            program: None,
        }
    }
}

impl Policy {
    fn may_thread(&self) -> bool {
        self.threads || self.program.is_some()
    }
}

/// Isolation was required, and this system lacks some of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isolation is required, but is missing here: {}; --isolation auto goes on without", .0.join("; "))]
pub struct Missing(pub Vec<String>);

/// Confines this process for good. It must have one thread, since the kernel confines the one that asks.
///
/// Files of the policy that do not exist are passed over: whoever opens them is told so.
///
/// # Errors
/// [`Missing`] at [`Level::Require`]. The process is then confined in part, and of no use.
pub fn lock_in(policy: &Policy) -> Result<InForce, Missing> {
    let mut force = InForce { level: policy.level, threads: policy.may_thread(), ..InForce::default() };
    // What is to be read of /proc and the files is read before Landlock closes them, and the limits are set before
    // seccomp refuses that; seccomp is last.
    let limits = limits::Limits::of(policy);
    if policy.level != Level::Off {
        confine(policy, &mut force);
    }
    limits.set(policy, &mut force);
    if policy.level != Level::Off {
        let calls = match &policy.program {
            Some(_) => Calls::Program { landlocked: force.landlock_abi.is_some() },
            None if policy.threads => Calls::Threads,
            None => Calls::Model,
        };
        let filtered = calls::restrict(calls);
        force.seccomp = keep(&mut force.missing, "seccomp", filtered).is_some();
    }
    match policy.level {
        Level::Require if !force.missing.is_empty() => Err(Missing(force.missing)),
        _ => Ok(force),
    }
}

fn confine(policy: &Policy, force: &mut InForce) {
    // One entry a thread; without /proc nothing is known, and nothing is said.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        force.missing.push(format!("the isolation of {} other threads of this process", threads - 1));
    }
    let privileges = nix::sys::prctl::set_no_new_privs().map_err(|errno| errno.to_string());
    force.no_new_privs = keep(&mut force.missing, "no new privileges", privileges).is_some();
    let landlock = files::restrict(policy);
    force.landlock_abi = keep(&mut force.missing, "Landlock", landlock);
    if force.landlock_abi.is_none() {
        // Landlock also keeps siblings out of each other's /proc/PID/mem. Without it this does, for all but root; it is
        // not the rule, since it would keep the user's own debugger and `ls /proc/PID/fd` out as well.
        let undumpable = nix::sys::prctl::set_dumpable(false).map_err(|errno| errno.to_string());
        keep(&mut force.missing, "a memory that siblings cannot read", undumpable);
    }
}

/// Notes what is missing, if it is.
fn keep<T>(missing: &mut Vec<String>, what: &str, result: Result<T, String>) -> Option<T> {
    result.map_err(|why| missing.push(format!("{what} ({why})"))).ok()
}

#[cfg(test)]
mod tests;
