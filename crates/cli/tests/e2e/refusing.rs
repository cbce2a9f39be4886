//! Runs a command on a system that refuses some calls, as a container, another kernel or another file system does.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    thread,
};

use nix::{errno::Errno, libc};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The refused calls, with the error of each.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    with: Errno,
}

impl Refused {
    /// Refuses system calls with any arguments.
    pub(crate) fn calls(numbers: &[i64], with: Errno) -> Self {
        Self { calls: numbers.iter().map(|&number| (number, Vec::new())).collect(), with }
    }

    /// Refuses a system call if `mask` of its argument `index` is `value`.
    pub(crate) fn call_where(number: i64, index: u8, mask: u64, value: u64, with: Errno) -> Self {
        let condition = SeccompCondition::new(index, Dword, SeccompCmpOp::MaskedEq(mask), value).unwrap();
        let rule = SeccompRule::new(vec![condition]).unwrap();
        Self { calls: BTreeMap::from([(number, vec![rule])]), with }
    }

    fn filter(self) -> BpfProgram {
        let (refuse, target) = (SeccompAction::Errno(self.with as u32), std::env::consts::ARCH);
        let filter = SeccompFilter::new(self.calls, SeccompAction::Allow, refuse, target.try_into().unwrap()).unwrap();
        filter.try_into().unwrap()
    }
}

/// Refuses threads, as for a user or a cgroup that has as many as allowed.
pub(crate) fn threads() -> Vec<Refused> {
    clones(libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64, Errno::EAGAIN)
}

/// Refuses forked processes, but not those of this test itself, which share its memory until they execute.
pub(crate) fn forks(with: Errno) -> Vec<Refused> {
    clones(libc::CLONE_VM as u64, 0, with)
}

/// Refuses `clone` with such flags. libc falls back to it without `clone3`, whose flags no filter can read.
fn clones(mask: u64, value: u64, with: Errno) -> Vec<Refused> {
    let clone3 = Refused::calls(&[libc::SYS_clone3], Errno::ENOSYS);
    vec![clone3, Refused::call_where(libc::SYS_clone, 0, mask, value, with)]
}

/// Runs a command to its end with these refusals.
pub(crate) fn output(mut command: Command, refused: Vec<Refused>) -> Output {
    let start = || {
        refused.into_iter().for_each(|refused| apply_filter(&refused.filter()).unwrap());
        command.output().unwrap()
    };
    // A filter holds for the thread that installs it and its children. The test itself continues without one.
    thread::scope(|scope| scope.spawn(start).join().unwrap())
}
