//! Which core a client process computes on.
//!
//! Where as many processes compute as there are cores, each is told its own. Left alone, the kernel puts a process that is
//! woken where its waker or its own last work was, also behind one that computes there, and for a whole time slice (4 ms) leaves it
//! waiting while another core is idle.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The cores that this process may use, one for each of `jobs`; none where they are not as many, since there is then room for the
/// kernel to choose, or another run beside this one.
pub(crate) fn for_jobs(jobs: usize) -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(Pid::this()) else {
        return Vec::new();
    };
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or_default()).collect();
    if cores.len() == jobs { cores } else { Vec::new() }
}

/// Has `process`, which must have one thread, run on `core` alone. Best effort: the core may be gone by now.
pub(crate) fn keep_on(core: usize, process: Pid) {
    let mut cores = CpuSet::new();
    let _ = cores.set(core).and_then(|()| sched_setaffinity(process, &cores));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(process: Pid) -> Vec<usize> {
        let allowed = sched_getaffinity(process).unwrap();
        (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap()).collect()
    }

    #[test]
    fn there_are_cores_where_all_of_them_are_to_compute() {
        let cores = allowed(Pid::this());
        assert_eq!(for_jobs(cores.len()), cores);
        assert!(for_jobs(cores.len() + 1).is_empty());
        assert!(for_jobs(cores.len() - 1).is_empty());
    }

    #[test]
    fn a_process_stays_on_its_core() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = Pid::from_raw(child.id().cast_signed());
        for core in allowed(Pid::this()) {
            keep_on(core, process);
            assert_eq!(allowed(process), [core]);
        }
        // None that is: it goes on where it is.
        keep_on(CpuSet::count() - 1, process);
        keep_on(usize::MAX, process);
        assert_eq!(allowed(process).len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
