//! Resource limits (setrlimit). They hold even if neither Landlock nor seccomp is available.

use fedpipe_protocol::{InForce, Level};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

use super::{Policy, note_missing};

/// The most open descriptors of a client. It needs its pipes, its log, and a file while it maps it.
const DESCRIPTORS: u64 = 64;

/// The most open descriptors of a program, whose interpreter opens many files.
const DESCRIPTORS_OF_A_PROGRAM: u64 = 1024;

/// The limits of a policy, as values for setrlimit.
pub(super) struct ResourceLimits {
    memory: Option<(Resource, u64)>,
    cpu_seconds: Option<u64>,
}

impl ResourceLimits {
    /// Computes the limits. They are increased by the memory that is mapped now, by the files that will be mapped, and
    /// by the processor time that is used.
    pub(super) fn of(policy: &Policy) -> Self {
        let files = policy.readable.iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len()));
        // An `execve` drops all that is mapped now, and files that a program reads do not count as data.
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

    /// Sets the limits permanently.
    pub(super) fn set(&self, policy: &Policy, force: &mut InForce) {
        if let Some((resource, bytes)) = self.memory {
            let set = lower(resource, bytes, bytes);
            force.memory_limit =
                policy.memory_limit.filter(|_| note_missing(&mut force.missing, "the memory limit", set).is_some());
        }
        if let Some(seconds) = self.cpu_seconds {
            // The kernel sends SIGXCPU, and SIGKILL one second later if the model ignores it.
            let set = lower(Resource::RLIMIT_CPU, seconds, seconds.saturating_add(1));
            force.cpu_seconds =
                policy.cpu_seconds.filter(|_| note_missing(&mut force.missing, "the processor limit", set).is_some());
        }
        if policy.level == Level::Off {
            return;
        }
        // A core file would contain the partition. Only the value 1 also prevents a core_pattern program.
        let set = lower(Resource::RLIMIT_CORE, 1, 1);
        note_missing(&mut force.missing, "no core files", set);
        let set = lower(Resource::RLIMIT_FSIZE, 0, 0);
        note_missing(&mut force.missing, "no file writes", set);
        let descriptors = if policy.program.is_some() { DESCRIPTORS_OF_A_PROGRAM } else { DESCRIPTORS };
        let set = lower(Resource::RLIMIT_NOFILE, descriptors, descriptors);
        note_missing(&mut force.missing, "a limit of descriptors", set);
        if !policy.may_thread() {
            let set = lower(Resource::RLIMIT_NPROC, 0, 0);
            note_missing(&mut force.missing, "no child processes", set);
        }
    }
}

/// Sets both limits, neither above the present hard limit.
fn lower(resource: Resource, soft: u64, hard: u64) -> Result<(), String> {
    let set = getrlimit(resource).and_then(|(_, now)| setrlimit(resource, soft.min(now), hard.min(now)));
    set.map_err(|errno| errno.to_string())
}

/// Returns the size of this process's address space in bytes, or 0 without /proc.
fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix(" kB")?.trim().parse().ok());
    size.map_or(0, |kilobytes: u64| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_size_of_this_process_is_found() {
        assert!(super::mapped() > 1 << 20);
    }
}
