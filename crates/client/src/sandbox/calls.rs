//! seccomp: the system calls that a client may make. Any other call fails with EPERM.
//!
//! A refused call is an error and does not end the process, since some libraries make such a call and can do without
//! it. A call of another architecture (`int 0x80`) ends the process. Calls of x32 have other numbers and are refused.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

type CallRules = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls that are allowed with any arguments: memory, time, open descriptors, the state of this process.
const ALLOWED: &[c_long] = &[
    // Descriptors. None of these calls opens, duplicates or connects one.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_ppoll,
    // dlopen needs these. They reveal the existence and the size of a file; a filter cannot see the path.
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Signals of this process and their handlers.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time and random numbers.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    // The identity and the machine of this process. Callers expect no error of these.
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
    // Locks and exit.
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

/// The calls that a thread needs in addition to `clone`.
const THREADS: &[c_long] = &[libc::SYS_clone3, libc::SYS_rseq, libc::SYS_set_robust_list, libc::SYS_membarrier];

/// The advice that affects this process only. Advice that poisons pages or shares them with other processes is refused.
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

/// The `fcntl` commands of a client. Commands that send signals or resize a pipe (the user has a quota) are refused.
const DESCRIPTOR_COMMANDS: &[i32] = &[libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD_CLOEXEC];

/// The flags of `open` that do more than read. `O_PATH` is among them, since Landlock does not check such a handle.
const MORE_THAN_READING: i32 =
    libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_PATH | (libc::O_TMPFILE & !libc::O_DIRECTORY);

/// The list of calls that is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallList {
    /// The list of a model.
    Model,
    /// The list of a model that may start threads.
    Threads,
    /// The list of a program of the user's.
    Program {
        /// `true` if Landlock is in force and decides which files may be opened; `/dev/null` can then be written.
        landlocked: bool,
    },
}

/// The further calls that a program and its interpreter need: to be executed and linked, to find their files, to wait
/// for their threads. None of these calls makes a socket or a process, or changes another process.
const PROGRAM: &[c_long] = &[
    // The program is executed after the filter is installed. The number of executions cannot be limited.
    libc::SYS_execve,
    libc::SYS_set_tid_address,
    // Reading files and their metadata.
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
    // Descriptors of this process.
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
    // Memory and its NUMA node.
    libc::SYS_get_mempolicy,
    libc::SYS_mbind,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_msync,
    libc::SYS_munlock,
    // Timers and signals of this process.
    libc::SYS_getitimer,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_setitimer,
    libc::SYS_times,
    // The identity and the scheduling of this process. `wait4` fails, since there are no children.
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

/// The older calls of x86-64 that a program needs.
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

/// The `ioctl` commands of a program: terminal settings, bytes that are ready, close-on-exec, blocking.
const DEVICE_COMMANDS: &[i32] = &[
    libc::TCGETS as i32,
    libc::TIOCGWINSZ as i32,
    libc::FIOCLEX as i32,
    libc::FIONCLEX as i32,
    libc::FIONREAD as i32,
    libc::FIONBIO as i32,
];

/// The `prctl` commands of a program: names of threads and of memory.
const PROCESS_COMMANDS: &[i32] = &[libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA, libc::PR_GET_DUMPABLE];

/// The `fcntl` commands of a program in addition to [`DESCRIPTOR_COMMANDS`].
const PROGRAM_DESCRIPTOR_COMMANDS: &[i32] = &[libc::F_DUPFD, libc::F_SETFL, libc::F_GETPIPE_SZ];

/// Restricts this thread to the calls of a list.
pub(super) fn restrict(calls: CallList) -> Result<(), String> {
    let target = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("there is no list of system calls for {}", std::env::consts::ARCH))?;
    let install = |rules, matched, otherwise| install(rules, matched, otherwise, target).map_err(describe);
    if calls != CallList::Model {
        // The flags of `clone3` are in memory, which a filter cannot read. On ENOSYS, C libraries use `clone` instead.
        let clone3 = Ok(CallRules::from([(libc::SYS_clone3, vec![])]));
        let absent = SeccompAction::Errno(libc::ENOSYS as u32);
        install(clone3, absent, SeccompAction::Allow)?;
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    install(rules(calls), SeccompAction::Allow, refused)
}

fn install(
    rules: Result<CallRules, BackendError>,
    matched: SeccompAction,
    otherwise: SeccompAction,
    target: TargetArch,
) -> seccompiler::Result<()> {
    apply_filter(&BpfProgram::try_from(SeccompFilter::new(rules?, otherwise, matched, target)?)?)
}

fn describe(error: seccompiler::Error) -> String {
    match error {
        seccompiler::Error::Seccomp(why) => format!("this kernel or a container refuses it: {why}"),
        other => other.to_string(),
    }
}

fn rules(calls: CallList) -> Result<CallRules, BackendError> {
    let itself = u64::from(std::process::id());
    let mut rules: CallRules = ALLOWED.iter().chain(ALLOWED_HERE).map(|&call| (call, vec![])).collect();
    let reading = SeccompCmpOp::MaskedEq(MORE_THAN_READING as u64);
    rules.insert(libc::SYS_openat, vec![rule([compare_argument(2, reading.clone(), 0)?])?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![rule([compare_argument(1, reading, 0)?])?]);
    rules.insert(libc::SYS_fcntl, one_of(1, DESCRIPTOR_COMMANDS)?);
    rules.insert(libc::SYS_madvise, one_of(2, ADVICE)?);
    // `abort` and `raise` send signals to this process.
    for call in [libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill] {
        rules.insert(call, vec![rule([compare_argument(0, SeccompCmpOp::Eq, itself)?])?]);
    }
    rules.insert(libc::SYS_sched_getaffinity, vec![rule([compare_argument(0, SeccompCmpOp::Eq, 0)?])?]);
    // A process may read its own limits and not change them.
    let no_new = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![rule([compare_argument(0, SeccompCmpOp::Eq, 0)?, no_new])?]);
    if calls != CallList::Model {
        rules.extend(THREADS.iter().map(|&call| (call, vec![])));
        let thread = libc::CLONE_THREAD as u64;
        rules.insert(libc::SYS_clone, vec![rule([compare_argument(0, SeccompCmpOp::MaskedEq(thread), thread)?])?]);
    }
    match calls {
        CallList::Program { landlocked } => add_program_rules(&mut rules, landlocked)?,
        // A client lends its update to its pipe, which takes no flag. A program may not, since it can make pipes, and
        // pages in pipes do not count towards its memory limit.
        CallList::Model | CallList::Threads => {
            rules.insert(libc::SYS_vmsplice, vec![rule([compare_argument(3, SeccompCmpOp::Eq, 0)?])?]);
        }
    }
    Ok(rules)
}

/// Adds the rules that a program needs.
fn add_program_rules(rules: &mut CallRules, landlocked: bool) -> Result<(), BackendError> {
    rules.extend(PROGRAM.iter().chain(PROGRAM_HERE).map(|&call| (call, vec![])));
    rules.insert(libc::SYS_ioctl, one_of(1, DEVICE_COMMANDS)?);
    rules.insert(libc::SYS_prctl, one_of(0, PROCESS_COMMANDS)?);
    rules.entry(libc::SYS_fcntl).or_default().extend(one_of(1, PROGRAM_DESCRIPTOR_COMMANDS)?);
    // 0 is this process.
    rules.insert(libc::SYS_sched_setaffinity, vec![rule([compare_argument(0, SeccompCmpOp::Eq, 0)?])?]);
    if landlocked {
        rules.insert(libc::SYS_openat, vec![]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![]);
    }
    Ok(())
}

fn one_of(argument: u8, values: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&value| rule([compare_argument(argument, SeccompCmpOp::Eq, value as u64)?])).collect()
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into())
}

/// Returns a condition on an argument that is an `int` in the kernel. Both ignore its upper half.
fn compare_argument(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_for_every_architecture() {
        for architecture in ["x86_64", "aarch64", "riscv64"] {
            let program = |landlocked| CallList::Program { landlocked };
            for calls in [CallList::Model, CallList::Threads, program(false), program(true)] {
                let target = TargetArch::try_from(architecture).unwrap();
                let refused = SeccompAction::Errno(1);
                let filter = SeccompFilter::new(rules(calls).unwrap(), refused, SeccompAction::Allow, target);
                assert!(!BpfProgram::try_from(filter.unwrap()).unwrap().is_empty(), "{architecture}");
            }
        }
    }
}
