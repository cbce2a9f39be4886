//! Tests of the limits of a client: actions that stay possible, actions that end it, and reports of missing mechanisms.

use std::{
    os::unix::process::ExitStatusExt,
    time::{Duration, Instant},
};

use fedpipe_client::sandbox::{Policy, ProgramAccess};
use fedpipe_protocol::Level;

use crate::{
    child::{Plan, Role, policy},
    stage::{report, run},
};

const ABSENT: [(&str, i64); 2] = [("Landlock", libc::SYS_landlock_create_ruleset), ("seccomp", libc::SYS_seccomp)];

pub(crate) fn a_missing_mechanism_is_reported_or_refused() {
    for (name, call) in ABSENT {
        let with = |level| {
            let plan = Plan { absent: vec![call], ..plan(Role::StartThread, policy(level, &[])) };
            report(&run(&plan))
        };
        let required = with(Level::Require).refused.unwrap();
        println!("{required}");
        assert!(required.starts_with(&format!("isolation is required, but is missing here: {name} (")), "{required}");
        let force = with(Level::Auto).in_force.unwrap();
        println!("{force}");
        assert!(force.missing.len() == 1 && force.missing[0].starts_with(name), "{force:?}");
        assert_eq!((force.landlock_abi.is_some(), force.seccomp), (name != "Landlock", name != "seccomp"));
        assert!(force.no_new_privs);
        let off = with(Level::Off).in_force.unwrap();
        assert!(off.missing.is_empty() && off.landlock_abi.is_none() && !off.seccomp, "{off:?}");
    }
}

pub(crate) fn threads_that_are_not_isolated_are_reported() {
    let threaded = |level| Plan { threads: 2, ..plan(Role::Exit(0), policy(level, &[])) };
    let refused = report(&run(&threaded(Level::Require))).refused.unwrap();
    assert!(refused.contains("the isolation of 2 other threads"), "{refused}");
}

pub(crate) fn memory_beyond_the_limit_ends_the_client() {
    let within = run(&plan(Role::Allocate(900 << 20), policy(Level::Require, &[])));
    assert_eq!(report(&within).in_force.unwrap().memory_limit, Some(1 << 30));
    let beyond = run(&plan(Role::Allocate(1100 << 20), policy(Level::Require, &[])));
    assert_eq!(beyond.status.signal(), Some(libc::SIGABRT));
    let words = String::from_utf8_lossy(&beyond.stderr);
    assert!(words.contains("memory allocation of 1153433600 bytes failed"), "{words}");
    // There is no core dump, neither for a file nor for a core_pattern program.
    assert!(!beyond.status.core_dumped());
}

pub(crate) fn processor_time_beyond_the_limit_ends_the_client() {
    let policy = Policy { cpu_seconds: Some(1), ..policy(Level::Require, &[]) };
    let start = Instant::now();
    assert_eq!(run(&plan(Role::Spin, policy)).status.signal(), Some(libc::SIGXCPU));
    assert!(start.elapsed() > Duration::from_millis(900));
}

pub(crate) fn limits_hold_without_isolation() {
    let beyond = run(&plan(Role::Allocate(1100 << 20), policy(Level::Off, &[])));
    assert_eq!(beyond.status.signal(), Some(libc::SIGABRT));
}

pub(crate) fn a_client_may_end_itself() {
    let ends = |role| {
        let output = run(&plan(role, policy(Level::Require, &[])));
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(ends(Role::Exit(7)).0.code(), Some(7));
    assert_eq!(ends(Role::Abort).0.signal(), Some(libc::SIGABRT));
    // The panic's message is written, with RUST_BACKTRACE or without: the files for a backtrace are denied, which is no
    // crash.
    let (status, words) = ends(Role::Panic);
    assert!(status.code() == Some(101) && words.contains("as planned"), "{status}: {words}");
    let (status, words) = ends(Role::Overflow);
    assert!(status.signal() == Some(libc::SIGABRT) && words.contains("has overflowed its stack"), "{status}: {words}");
}

pub(crate) fn calls_of_another_architecture_end_the_client() {
    if cfg!(target_arch = "x86_64") {
        let output = run(&plan(Role::ForeignCall, policy(Level::Require, &[])));
        // A kernel without 32-bit support sends SIGSEGV before the filter runs.
        assert!(matches!(output.status.signal(), Some(libc::SIGSYS | libc::SIGSEGV)), "{}", output.status);
    }
}

pub(crate) fn threads_are_the_policys_choice() {
    let start = |threads| {
        let policy = Policy { threads, ..policy(Level::Require, &[]) };
        report(&run(&plan(Role::StartThread, policy))).errors
    };
    assert_eq!(start(false), ["Operation not permitted (os error 1)"]);
    assert!(start(true).is_empty());
}

pub(crate) fn a_client_may_lend_to_its_pipe() {
    let lent = run(&plan(Role::Lend, policy(Level::Require, &[])));
    assert!(lent.stdout.starts_with(b"\n{"), "{}", String::from_utf8_lossy(&lent.stdout));
    assert!(report(&lent).errors.is_empty());
    // A program may not lend: it can make pipes, and pages in pipes do not count towards its memory limit.
    let program = Policy { program: Some(ProgramAccess::default()), ..policy(Level::Require, &[]) };
    assert_eq!(report(&run(&plan(Role::Lend, program))).errors, ["EPERM: Operation not permitted"]);
}

pub(crate) fn libraries_of_the_system_load() {
    let known = ["libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libcrypto.so.3"].map(String::from);
    let open = |level, names: Vec<String>| report(&run(&plan(Role::Libraries(names), policy(level, &[])))).errors;
    let here = known.into_iter().filter(|name| open(Level::Off, vec![name.clone()]).is_empty());
    let here: Vec<String> = here.collect();
    println!("{here:?}");
    assert!(!here.is_empty());
    assert_eq!(open(Level::Require, here), Vec::<String>::new());
}

fn plan(role: Role, policy: Policy) -> Plan {
    Plan { role, policy, absent: Vec::new(), threads: 0 }
}
