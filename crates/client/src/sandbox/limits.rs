//! Limits of the kernel that any process has: they hold even where neither Landlock nor seccomp does.

use fedpipe_protocol::{InForce, Level};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

use super::{Policy, keep};

/// Descriptors: the pipes, the log, and what is open for a moment while a file is mapped.
const DESCRIPTORS: u64 = 64;

/// The same for a program: libraries are many, and so are the files of an interpreter.
const DESCRIPTORS_OF_A_PROGRAM: u64 = 1024;

/// The limits of a policy as numbers for the kernel.
pub(super) struct Limits {
    memory: Option<(Resource, u64)>,
    cpu_seconds: Option<u64>,
}

impl Limits {
    /// Takes stock of what counts already: what is mapped now, and the files that will be.
    pub(super) fn of(policy: &Policy) -> Self {
        let files = policy.readable.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len()));
        // What is mapped now is gone when a program is executed, and files that are only read are no data.
        let memory = |limit: u64| match policy.program {
            Some(_) => (Resource::RLIMIT_DATA, limit),
            None => (Resource::RLIMIT_AS, limit.saturating_add(mapped() + files.sum::<u64>())),
        };
        let spent = || getrusage(UsageWho::RUSAGE_SELF).map_or(0, |used| used.user_time().tv_sec() as u64);
        Self {
            memory: policy.memory_limit.map(memory),
            cpu_seconds: policy.cpu_seconds.map(|limit| limit.saturating_add(spent())),
        }
    }

    /// Sets them for good.
    pub(super) fn set(&self, policy: &Policy, force: &mut InForce) {
        if let Some((resource, bytes)) = self.memory {
            let set = lower(resource, bytes, bytes);
            force.memory_limit =
                policy.memory_limit.filter(|_| keep(&mut force.missing, "the memory limit", set).is_some());
        }
        if let Some(seconds) = self.cpu_seconds {
            // SIGXCPU, and SIGKILL a second later for a model that ignores it.
            let set = lower(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1));
            force.cpu_seconds =
                policy.cpu_seconds.filter(|_| keep(&mut force.missing, "the processor limit", set).is_some());
        }
        if policy.level == Level::Off {
            return;
        }
        // A partition shall not end in a core file: 1 is the one value that also keeps it from a core_pattern program.
        let set = lower(Resource::RLIMIT_CORE, 1, 1);
        keep(&mut force.missing, "no core files", set);
        let set = lower(Resource::RLIMIT_FSIZE, 0, 0);
        keep(&mut force.missing, "no file writes", set);
        let descriptors = if policy.program.is_some() { DESCRIPTORS_OF_A_PROGRAM } else { DESCRIPTORS };
        let set = lower(Resource::RLIMIT_NOFILE, descriptors, descriptors);
        keep(&mut force.missing, "a limit of descriptors", set);
        if !policy.may_thread() {
            let set = lower(Resource::RLIMIT_NPROC, 0, 0);
            keep(&mut force.missing, "no child processes", set);
        }
    }
}

/// Sets both limits, each to no more than what the hard one is.
fn lower(resource: Resource, soft: u64, hard: u64) -> Result<(), String> {
    let set = getrlimit(resource).and_then(|(_, now)| setrlimit(resource, soft.min(now), hard.min(now)));
    set.map_err(|errno| errno.to_string())
}

/// Bytes of this process's address space; 0 where /proc does not say.
fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix(" kB")?.trim().parse().ok());
    size.map_or(0, |kilobytes: u64| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_a_size() {
        assert!(super::mapped() > 1 << 20);
    }
}
