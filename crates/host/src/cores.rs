//! Which core a client process computes on.
//!
//! Where as many processes compute as there are cores, each is told its own. Left alone, the kernel puts a process that is
//! woken where its waker or its own last work was, also behind one that computes there, and for a whole time slice (4 ms) leaves it
//! waiting while another core is idle.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// A core for each process that computes; none at all where there are more or fewer cores than that, since the kernel then has
/// room to choose, or another run is beside this one.
#[derive(Debug)]
pub(crate) struct Cores(Vec<Core>);

#[derive(Debug)]
struct Core {
    number: usize,
    /// Who computes there, or did last.
    slot: Option<usize>,
}

impl Cores {
    /// Those that this process may use, for `jobs` processes.
    pub(crate) fn of_machine(jobs: usize) -> Self {
        let allowed = sched_getaffinity(Pid::this()).unwrap_or_default();
        let numbers: Vec<usize> = (0..CpuSet::count()).filter(|&n| allowed.is_set(n).unwrap_or_default()).collect();
        if numbers.len() == jobs { Self::new(numbers) } else { Self::none() }
    }

    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    fn new(numbers: Vec<usize>) -> Self {
        Self(numbers.into_iter().map(|number| Core { number, slot: None }).collect())
    }

    /// Forgets who computed where: the longest queue is to begin, wherever.
    pub(crate) fn begin(&mut self) {
        self.0.iter_mut().for_each(|core| core.slot = None);
    }

    /// Whether the process of `slot` was the last to compute on some core, whose caches have its model.
    pub(crate) fn know(&self, slot: usize) -> bool {
        self.0.iter().any(|core| core.slot == Some(slot))
    }

    /// The core that knows `slot`, or one where nobody computes; it is then that slot's.
    pub(crate) fn take(&mut self, slot: usize, computes: impl Fn(usize) -> bool) -> Option<usize> {
        let known = self.0.iter().position(|core| core.slot == Some(slot));
        let free = || self.0.iter().position(|core| core.slot.is_none_or(|slot| !computes(slot)));
        let index = known.or_else(free)?;
        let core = &mut self.0[index];
        core.slot = Some(slot);
        Some(core.number)
    }
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
        let given = |jobs| Cores::of_machine(jobs).0.iter().map(|core| core.number).collect::<Vec<_>>();
        assert_eq!(given(cores.len()), cores);
        assert!(given(cores.len() + 1).is_empty());
        assert!(given(cores.len() - 1).is_empty());
    }

    #[test]
    fn a_slot_keeps_its_core_until_another_takes_it() {
        let mut cores = Cores::new(vec![4, 6]);
        let nobody = |_| false;
        assert_eq!((cores.take(0, nobody), cores.take(1, |slot| slot == 0)), (Some(4), Some(6)));
        // Both are known; the first is free for another.
        assert_eq!(cores.take(1, nobody), Some(6));
        assert_eq!(cores.take(2, |slot| slot == 1), Some(4));
        assert_eq!([0, 1, 2].map(|slot| cores.know(slot)), [false, true, true]);
        assert_eq!(cores.take(0, |_| true), None);
        cores.begin();
        assert!(!cores.know(1) && !cores.know(2));
        assert_eq!(Cores::none().take(0, nobody), None);
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
