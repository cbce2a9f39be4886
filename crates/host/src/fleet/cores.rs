//! Which core a client process computes on.
//!
//! While every core has work, and as many jobs wait, each process that computes is kept on a core of its own. Left alone, the kernel
//! may put one that is woken behind another that computes, and leave it there for a time slice (4 ms were seen) although a core is
//! idle. The last of the work is the kernel's to place: it can move a process away from a core that others need, too.

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
    /// Whose process was sent here last, in this batch.
    slot: Option<usize>,
}

impl Cores {
    /// Those that this process may use, where they are as many as `jobs`; else none, and the kernel has room to choose.
    pub(crate) fn of_machine(jobs: usize) -> Self {
        let all = sched_getaffinity(Pid::this()).unwrap_or_default();
        let numbers = numbers(&all);
        if numbers.len() == jobs { Self::new(all, &numbers) } else { Self::none() }
    }

    pub(crate) fn none() -> Self {
        Self::new(CpuSet::new(), &[])
    }

    fn new(all: CpuSet, numbers: &[usize]) -> Self {
        Self { all, each: numbers.iter().map(|&number| Core { number, slot: None }).collect() }
    }

    pub(crate) fn count(&self) -> usize {
        self.each.len()
    }

    /// All of them; `None` where there are none.
    pub(crate) fn all(&self) -> Option<CpuSet> {
        Some(self.all).filter(|_| !self.each.is_empty())
    }

    /// Forgets who is where.
    pub(crate) fn forget_all(&mut self) {
        self.each.iter_mut().for_each(|core| core.slot = None);
    }

    /// Forgets where `slot` is.
    pub(crate) fn forget(&mut self, slot: usize) {
        self.each.iter_mut().filter(|core| core.slot == Some(slot)).for_each(|core| core.slot = None);
    }

    /// Whether the process of `slot` was the last on some core, whose caches have its model.
    pub(crate) fn know(&self, slot: usize) -> bool {
        self.each.iter().any(|core| core.slot == Some(slot))
    }

    /// Gives `slot` the core that knows it, or else one where nobody computes; `None` where there is none.
    pub(crate) fn take(&mut self, slot: usize, computes: impl Fn(usize) -> bool) -> Option<CpuSet> {
        let known = self.each.iter().position(|core| core.slot == Some(slot));
        let free = || self.each.iter().position(|core| core.slot.is_none_or(|slot| !computes(slot)));
        let index = known.or_else(free)?;
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
    fn there_are_cores_where_all_of_them_are_to_compute() {
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
            (taken, [0, 1, 2].map(|slot| cores.know(slot)))
        };
        let nobody = |_| false;
        assert_eq!(take(0, &nobody), (Some(vec![4]), [true, false, false]));
        assert_eq!(take(1, &|slot| slot == 0), (Some(vec![6]), [true, true, false]));
        assert_eq!(take(1, &nobody), (Some(vec![6]), [true, true, false]));
        // The first is free for another.
        assert_eq!(take(2, &|slot| slot == 1), (Some(vec![4]), [false, true, true]));
        assert_eq!(take(0, &|_| true), (None, [false, true, true]));
        cores.forget(1);
        assert_eq!([0, 1, 2].map(|slot| cores.know(slot)), [false, false, true]);
        cores.forget_all();
        assert!(!cores.know(2));
    }
}
