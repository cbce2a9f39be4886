//! The assignment of cores to the client processes that compute.
//!
//! While every core has work, and as many jobs wait, each process that computes is kept on a core of its own. Otherwise
//! the kernel may queue a process behind another one for a time slice, although a core is idle. The kernel places the
//! last jobs of a batch, since it can also move a process away from a core that another program needs.

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

/// The cores for processes that compute at the same time.
#[derive(Debug)]
pub(crate) struct Cores {
    all: CpuSet,
    each: Vec<Core>,
}

#[derive(Debug)]
struct Core {
    number: usize,
    /// The slot whose process computed here last, in this batch.
    slot: Option<usize>,
}

impl Cores {
    /// Returns the cores that this process may use if their number is `jobs`; otherwise none, and the kernel chooses.
    pub(crate) fn of_machine(jobs: usize) -> Self {
        let all = sched_getaffinity(Pid::this()).unwrap_or_default();
        let numbers = numbers(&all);
        if numbers.len() == jobs { Self::new(all, &numbers) } else { Self::none() }
    }

    /// Returns no cores: the kernel places every process.
    pub(crate) fn none() -> Self {
        Self::new(CpuSet::new(), &[])
    }

    fn new(all: CpuSet, numbers: &[usize]) -> Self {
        Self { all, each: numbers.iter().map(|&number| Core { number, slot: None }).collect() }
    }

    /// Returns the number of cores.
    pub(crate) fn count(&self) -> usize {
        self.each.len()
    }

    /// Returns the set of all cores; `None` if there are none.
    pub(crate) fn all(&self) -> Option<CpuSet> {
        Some(self.all).filter(|_| !self.each.is_empty())
    }

    /// Clears all assignments.
    pub(crate) fn clear(&mut self) {
        self.each.iter_mut().for_each(|core| core.slot = None);
    }

    /// Clears the assignment of `slot`.
    pub(crate) fn release(&mut self, slot: usize) {
        self.each.iter_mut().filter(|core| core.slot == Some(slot)).for_each(|core| core.slot = None);
    }

    /// Returns `true` if the process of `slot` was the last on some core, whose caches then have its model.
    pub(crate) fn caches(&self, slot: usize) -> bool {
        self.each.iter().any(|core| core.slot == Some(slot))
    }

    /// Assigns `slot` the core that caches its model, or else one on which no process computes; `None` if there is
    /// none.
    pub(crate) fn take(&mut self, slot: usize, computes: impl Fn(usize) -> bool) -> Option<CpuSet> {
        let cached = self.each.iter().position(|core| core.slot == Some(slot));
        let free = || self.each.iter().position(|core| core.slot.is_none_or(|slot| !computes(slot)));
        let index = cached.or_else(free)?;
        let core = &mut self.each[index];
        core.slot = Some(slot);
        let mut own = CpuSet::new();
        own.set(core.number).ok().map(|()| own)
    }
}

fn numbers(cores: &CpuSet) -> Vec<usize> {
    (0..CpuSet::count()).filter(|&core| cores.is_set(core).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_assigned_only_if_all_of_them_compute() {
        let all = sched_getaffinity(Pid::this()).unwrap();
        let count = numbers(&all).len();
        let mut cores = Cores::of_machine(count);
        let taken: Vec<usize> = (0..count).flat_map(|slot| numbers(&cores.take(slot, |_| true).unwrap())).collect();
        assert_eq!(taken, numbers(&all));
        assert_eq!(cores.all(), Some(all));
        for others in [count + 1, count - 1] {
            let mut cores = Cores::of_machine(others);
            assert_eq!((cores.count(), cores.take(0, |_| false), cores.all()), (0, None, None));
        }
    }

    #[test]
    fn a_slot_keeps_its_core_until_another_takes_it() {
        let mut cores = Cores::new(CpuSet::new(), &[4, 6]);
        let mut take = |slot, computes: &dyn Fn(usize) -> bool| {
            let taken = cores.take(slot, computes).map(|core| numbers(&core));
            (taken, [0, 1, 2].map(|slot| cores.caches(slot)))
        };
        let nobody = |_| false;
        assert_eq!(take(0, &nobody), (Some(vec![4]), [true, false, false]));
        assert_eq!(take(1, &|slot| slot == 0), (Some(vec![6]), [true, true, false]));
        assert_eq!(take(1, &nobody), (Some(vec![6]), [true, true, false]));
        // The first is free for another.
        assert_eq!(take(2, &|slot| slot == 1), (Some(vec![4]), [false, true, true]));
        assert_eq!(take(0, &|_| true), (None, [false, true, true]));
        cores.release(1);
        assert_eq!([0, 1, 2].map(|slot| cores.caches(slot)), [false, false, true]);
        cores.clear();
        assert!(!cores.caches(2));
    }
}
