//! The limits of each client process on this machine.

use fedpipe_protocol::{Isolation, Level};
use fedpipe_record::{
    experiment::{ExecutionSection, Experiment},
    memory_limit::MemoryLimit,
};
use nix::unistd::{SysconfVar, sysconf};

use crate::{experiment::processes::process_count, process::container};

const MEBIBYTE: u64 = 1 << 20;

/// The least default limit. The kernel counts address space, of which libraries and stacks take this much even if the
/// model uses little memory.
const LEAST: u64 = 256 * MEBIBYTE;

/// Returns the isolation of each of so many client processes on this machine. Without a memory limit of the user's, the
/// processes share half of the memory.
pub fn isolation(level: Level, memory_limit: Option<MemoryLimit>, cpu_limit: Option<u64>, processes: u32) -> Isolation {
    let memory_limit = match memory_limit {
        Some(MemoryLimit::None) => None,
        Some(MemoryLimit::Bytes(bytes)) => Some(bytes),
        None => share(processes),
    };
    Isolation { level, memory_limit, cpu_seconds: cpu_limit }
}

/// Returns the share of each process in half of this machine's memory, in whole MiB.
fn share(processes: u32) -> Option<u64> {
    let bytes = memory()? / 2 / u64::from(processes.max(1));
    Some((bytes / MEBIBYTE * MEBIBYTE).max(LEAST))
}

/// Returns the bytes of this machine's memory, or the limit of this container if that is less.
fn memory() -> Option<u64> {
    let value = |name| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
    let machine = value(SysconfVar::_PHYS_PAGES)?.checked_mul(value(SysconfVar::PAGE_SIZE)?)?;
    Some(container::memory_limit().map_or(machine, |limit| limit.min(machine)))
}

/// Returns the isolation of each client process of the run.
pub(crate) fn isolation_of_each(experiment: &Experiment) -> Isolation {
    let ExecutionSection { isolation: level, memory_limit, cpu_limit, .. } = experiment.execution;
    isolation(level, memory_limit, cpu_limit, process_count(experiment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limit_is_the_share_of_half_the_memory() {
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
