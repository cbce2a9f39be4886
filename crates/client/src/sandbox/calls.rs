//! seccomp: the system calls that a model may make. Whatever is not listed fails with EPERM.
//!
//! A refused call is an error and no death, so that a model that only asked (a library that counts processors, say) goes on.
//! Calls of another architecture (`int 0x80`) end the process; those of x32 have other numbers and are refused.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What needs no look at its arguments: memory, time, descriptors that are open, this process's own state.
const ALLOWED: &[c_long] = &[
    // Descriptors. Nothing here opens, duplicates or connects one.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_ppoll,
    // dlopen asks for these by path. They tell that a file exists and its size, which no argument here can prevent.
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Signals to itself, and what handles them.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    // Who and where it is; callers of these expect no error.
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Locks, and the end.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The older calls of x86-64 that C libraries still make.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// What a thread needs besides `clone`.
const THREADS: &[c_long] = &[libc::SYS_clone3, libc::SYS_rseq, libc::SYS_set_robust_list, libc::SYS_membarrier];

/// Advice that concerns this process alone; not that which poisons pages or shares them with other processes.
const ADVICE: &[i32] = &[
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_DONTDUMP,
    libc::MADV_POPULATE_READ,
    libc::MADV_POPULATE_WRITE,
];

/// Commands on an open descriptor; not those that size a pipe, of which the user has a quota, or send signals.
const DESCRIPTOR_COMMANDS: &[i32] = &[libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];

/// Flags of `open` that make it more than reading. A path alone (`O_PATH`) is a handle that Landlock does not check.
const MORE_THAN_READING: i32 =
    libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// Confines this thread to the calls above.
pub(super) fn restrict(threads: bool) -> Result<(), String> {
    let target = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("there is no list for {}", std::env::consts::ARCH))?;
    let install = |rules, matched, otherwise| install(rules, matched, otherwise, target).map_err(in_words);
    if threads {
        // Its flags lie in memory, where no filter can look. C libraries fall back to `clone` on this error only.
        let clone3 = Ok(Rules::from([(libc::SYS_clone3, vec![])]));
        let absent = SeccompAction::Errno(libc::ENOSYS as u32);
        install(clone3, absent, SeccompAction::Allow)?;
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    install(rules(threads), SeccompAction::Allow, refused)
}

fn install(
    rules: Result<Rules, BackendError>,
    matched: SeccompAction,
    otherwise: SeccompAction,
    target: TargetArch,
) -> seccompiler::Result<()> {
    apply_filter(&BpfProgram::try_from(SeccompFilter::new(rules?, otherwise, matched, target)?)?)
}

fn in_words(error: seccompiler::Error) -> String {
    match error {
        seccompiler::Error::Seccomp(why) => format!("this kernel or a container refuses it: {why}"),
        other => other.to_string(),
    }
}

fn rules(threads: bool) -> Result<Rules, BackendError> {
    let itself = u64::from(std::process::id());
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|&call| (call, vec![])).collect();
    let reading = SeccompCmpOp::MaskedEq(MORE_THAN_READING as u64);
    rules.insert(libc::SYS_openat, vec![rule([number(2, reading.clone(), 0)?])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![rule([number(1, reading, 0)?])?]);
    rules.insert(libc::SYS_fcntl, one_of(1, DESCRIPTOR_COMMANDS)?);
    rules.insert(libc::SYS_madvise, one_of(2, ADVICE)?);
    // `abort` and `raise`.
    for call in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule([number(0, SeccompCmpOp::Eq, itself)?])?]);
    }
    rules.insert(libc::SYS_sched_getaffinity, vec![rule([number(0, SeccompCmpOp::Eq, 0)?])?]);
    // Asking for its own limits: no new ones are given.
    let no_new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![rule([number(0, SeccompCmpOp::Eq, 0)?, no_new])?]);
    if threads {
        rules.extend(THREADS.iter().map(|&call| (call, vec![])));
        let thread = libc::CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![rule([number(0, SeccompCmpOp::MaskedEq(thread), thread)?])?]);
    }
    Ok(rules)
}

fn one_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&value| rule([number(argument, SeccompCmpOp::Eq, value as u64)?])).collect()
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

/// A condition on an argument that is an `int` to the kernel, which ignores the upper half as this does.
fn number(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_on_every_architecture_there_is() {
        for architecture in ["x86_64", "aarch64", "riscv64"] {
            for threads in [false, true] {
                let target = TargetArch::try_from(architecture).unwrap();
                let refused = SeccompAction::Errno(1);
                let filter = SeccompFilter::new(rules(threads).unwrap(), refused, SeccompAction::Allow, target);
                assert!(!BpfProgram::try_from(filter.unwrap()).unwrap().is_empty(), "{architecture}");
            }
        }
    }
}
