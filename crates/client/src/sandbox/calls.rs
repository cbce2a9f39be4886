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

/// Which list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// That of a model.
    Model,
    /// That of a model that may start threads.
    Threads,
    /// That of a program of the user's.
    Program {
        /// Whether Landlock decides what may be opened, so that `/dev/null` can be written.
        landlocked: bool,
    },
}

/// What a program and its interpreter need besides: to be executed and linked, to find their files, to wait for their own
/// threads. No socket, no other process; of those that are there, it can only ask.
const PROGRAM: &[c_long] = &[
    // It is executed after the filter was installed. How often cannot be limited: a filter knows no past.
    libc::SYS_execve,
    libc::SYS_set_tid_address,
    // Files that may be read, and what is known of them.
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_preadv,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_statfs,
    libc::SYS_umask,
    // Descriptors of its own.
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_pselect6,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Memory; where it lies.
    libc::SYS_get_mempolicy,
    libc::SYS_mbind,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_msync,
    libc::SYS_munlock,
    // Time and signals, its own.
    libc::SYS_getitimer,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_setitimer,
    libc::SYS_times,
    // Who it is and how it is scheduled. It has no children to wait for.
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpriority,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getsid,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_wait4,
];

/// The older calls of x86-64 among those.
#[cfg(target_arch = "x86_64")]
const PROGRAM_HERE: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_alarm,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_pause,
    libc::SYS_pipe,
    libc::SYS_readlink,
    libc::SYS_select,
    libc::SYS_stat,
];
#[cfg(not(target_arch = "x86_64"))]
const PROGRAM_HERE: &[c_long] = &[];

/// What may be asked of an open file: whether it is a terminal, what waits in it, whether exec closes it.
const DEVICE_COMMANDS: &[i32] = &[
    libc::TCGETS as i32,
    libc::TIOCGWINSZ as i32,
    libc::FIOCLEX as i32,
    libc::FIONCLEX as i32,
    libc::FIONREAD as i32,
    libc::FIONBIO as i32,
];

/// A program's threads may be named, and so may its memory.
const PROCESS_COMMANDS: &[i32] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, libc::PR_GET_DUMPABLE];

/// Besides [`DESCRIPTOR_COMMANDS`].
const PROGRAM_DESCRIPTOR_COMMANDS: &[i32] = &[libc::F_DUPFD, libc::F_SETFL, libc::F_GETPIPE_SZ];

/// Confines this thread to the calls above.
pub(super) fn restrict(calls: Calls) -> Result<(), String> {
    let target = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("there is no list for {}", std::env::consts::ARCH))?;
    let install = |rules, matched, otherwise| install(rules, matched, otherwise, target).map_err(in_words);
    if calls != Calls::Model {
        // Its flags lie in memory, where no filter can look. C libraries fall back to `clone` on this error only.
        let clone3 = Ok(Rules::from([(libc::SYS_clone3, vec![])]));
        let absent = SeccompAction::Errno(libc::ENOSYS as u32);
        install(clone3, absent, SeccompAction::Allow)?;
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    install(rules(calls), SeccompAction::Allow, refused)
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

fn rules(calls: Calls) -> Result<Rules, BackendError> {
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
    if calls != Calls::Model {
        rules.extend(THREADS.iter().map(|&call| (call, vec![])));
        let thread = libc::CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![rule([number(0, SeccompCmpOp::MaskedEq(thread), thread)?])?]);
    }
    match calls {
        Calls::Program { landlocked } => widen(&mut rules, landlocked)?,
        // A client's update is lent to its pipe; no page is given away, which takes a flag. Not for a program, which does not
        // lend, and can make pipes: what they hold is beyond its memory limit.
        Calls::Model | Calls::Threads => {
            rules.insert(libc::SYS_vmsplice, vec![rule([number(3, SeccompCmpOp::Eq, 0)?])?]);
        }
    }
    Ok(rules)
}

/// What a program needs besides.
fn widen(rules: &mut Rules, landlocked: bool) -> Result<(), BackendError> {
    rules.extend(PROGRAM.iter().chain(PROGRAM_HERE).map(|&call| (call, vec![])));
    rules.insert(libc::SYS_ioctl, one_of(1, DEVICE_COMMANDS)?);
    rules.insert(libc::SYS_prctl, one_of(0, PROCESS_COMMANDS)?);
    rules.entry(libc::SYS_fcntl).or_default().extend(one_of(1, PROGRAM_DESCRIPTOR_COMMANDS)?);
    // Itself; another process would take a number.
    rules.insert(libc::SYS_sched_setaffinity, vec![rule([number(0, SeccompCmpOp::Eq, 0)?])?]);
    if landlocked {
        rules.insert(libc::SYS_openat, vec![]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![]);
    }
    Ok(())
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
            let program = |landlocked| Calls::Program { landlocked };
            for calls in [Calls::Model, Calls::Threads, program(false), program(true)] {
                let target = TargetArch::try_from(architecture).unwrap();
                let refused = SeccompAction::Errno(1);
                let filter = SeccompFilter::new(rules(calls).unwrap(), refused, SeccompAction::Allow, target);
                assert!(!BpfProgram::try_from(filter.unwrap()).unwrap().is_empty(), "{architecture}");
            }
        }
    }
}
