//! The isolation of a client, which the kernel enforces before the dylib is opened.
//!
//! Landlock allows reading the dylib, the system's libraries and this client's data. It forbids the rest of the file
//! system, TCP, abstract sockets and signals. seccomp allows only the system calls that training needs. Resource limits
//! bound memory and time. Landlock and seccomp are both necessary: Landlock does not cover UDP, and seccomp cannot
//! distinguish paths. `crates/client/SECURITY.md` lists the attempts and the mechanism that stops each.

mod calls;
mod file_access;
mod float;
mod libraries;
mod program_access;
mod resource_limits;
#[cfg(test)]
#[path = "../../../host/src/disk/test_files.rs"]
mod test_files;

use std::path::PathBuf;

use fedpipe_protocol::{InForce, Level};
use serde::{Deserialize, Serialize};

use calls::CallList;
pub use float::restore_float_control;
pub use program_access::ProgramAccess;

/// The isolation of a client. The default requires every mechanism and allows reading nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The action if the kernel lacks a mechanism.
    pub level: Level,
    /// The files that the client may read: the dylib, its partitions, the test set.
    pub readable: Vec<PathBuf>,
    /// `true` if the model may start threads. The model must then keep the order of its sums itself.
    pub threads: bool,
    /// The limit of address space in bytes, in addition to the memory that is mapped now and to the readable files.
    pub memory_limit: Option<u64>,
    /// The limit of processor time in seconds.
    pub cpu_seconds: Option<u64>,
    /// The files of a program of the user's that this process will execute; `None` for a model.
    ///
    /// A program may execute files and start threads. Its memory limit counts data instead of address space, since
    /// interpreters reserve more address space than they use.
    pub program: Option<ProgramAccess>,
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

/// The mechanisms of isolation that are required and that this system lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isolation is required, but is missing here: {}; --isolation auto continues without", .0.join("; "))]
pub struct MissingIsolation(pub Vec<String>);

/// Isolates this process permanently. The process must have one thread, since the kernel isolates only the calling
/// thread.
///
/// Files of the policy that do not exist are ignored. Opening such a file fails later.
///
/// # Errors
/// [`MissingIsolation`] at [`Level::Require`]. The process is then isolated in part and should end.
pub fn lock_in(policy: &Policy) -> Result<InForce, MissingIsolation> {
    let mut force = InForce { level: policy.level, threads: policy.may_thread(), ..InForce::default() };
    // The order matters: /proc and the files are read before Landlock forbids it, and the limits are set before seccomp
    // forbids it.
    let limits = resource_limits::ResourceLimits::of(policy);
    if policy.level != Level::Off {
        confine(policy, &mut force);
    }
    limits.set(policy, &mut force);
    if policy.level != Level::Off {
        let calls = match &policy.program {
            Some(_) => CallList::Program { landlocked: force.landlock_abi.is_some() },
            None if policy.threads => CallList::Threads,
            None => CallList::Model,
        };
        let filtered = calls::restrict(calls);
        force.seccomp = note_missing(&mut force.missing, "seccomp", filtered).is_some();
    }
    match policy.level {
        Level::Require if !force.missing.is_empty() => Err(MissingIsolation(force.missing)),
        _ => Ok(force),
    }
}

fn confine(policy: &Policy, force: &mut InForce) {
    // The folder has one entry for each thread. Without /proc, one thread is assumed.
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        force.missing.push(format!("the isolation of {} other threads of this process", threads - 1));
    }
    let privileges = nix::sys::prctl::set_no_new_privs().map_err(|errno| errno.to_string());
    force.no_new_privs = note_missing(&mut force.missing, "no new privileges", privileges).is_some();
    let landlock = file_access::restrict(policy);
    force.landlock_abi = note_missing(&mut force.missing, "Landlock", landlock);
    if force.landlock_abi.is_none() {
        // Landlock also denies access to /proc/PID/mem of another client. Without Landlock, this flag does, except for
        // root. It is not set otherwise, since it would also deny the user's debugger and `ls /proc/PID/fd`.
        let undumpable = nix::sys::prctl::set_dumpable(false).map_err(|errno| errno.to_string());
        note_missing(&mut force.missing, "a memory that siblings cannot read", undumpable);
    }
}

/// Adds the mechanism `what` to `missing` if it failed.
fn note_missing<T>(missing: &mut Vec<String>, what: &str, result: Result<T, String>) -> Option<T> {
    result.map_err(|why| missing.push(format!("{what} ({why})"))).ok()
}

#[cfg(test)]
mod tests;
