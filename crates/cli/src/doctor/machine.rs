//! The kernel, and the limits of this machine and of this user.

use std::{env::consts::ARCH, fs, path::Path};

use fedpipe_data::counted;
use fedpipe_host::{Level, isolation, processes_within_limit};
use rustix::process::{Resource, geteuid, getrlimit};

use super::Finding;

/// The first kernel on which a host runs: it has `close_range` with the flag that pipes need.
const OLDEST: (u32, u32) = (5, 11);

/// The processor architectures whose system calls the filter knows.
const FILTERED: [&str; 2] = ["x86_64", "aarch64"];

/// The number of client processes that a machine should have room for: the most that a run has by default.
const USUAL_PROCESSES: u64 = 64;

pub(super) fn kernel() -> Vec<Finding> {
    // Without /proc, which has a check of its own, the release is unknown.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![of_kernel(release.trim(), ARCH)]
}

fn of_kernel(release: &str, machine: &str) -> Finding {
    let fact = format!("Linux {release}, {machine}");
    let (major, minor) = OLDEST;
    if version(release).is_some_and(|version| version < OLDEST) {
        return Finding::broken(fact, format!("use Linux {major}.{minor} or later"));
    }
    if !FILTERED.contains(&machine) {
        return Finding::limited(fact, format!("the filter of system calls needs {}", FILTERED.join(" or ")));
    }
    Finding::fine(fact)
}

/// Returns the major and the minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn proc() -> Vec<Finding> {
    vec![if Path::new("/proc/self/exe").exists() {
        Finding::fine("mounted")
    } else {
        Finding::broken("not mounted, and clients are started from it", "mount -t proc proc /proc")
    }]
}

pub(super) fn descriptors() -> Vec<Finding> {
    vec![of_descriptors(processes_within_limit())]
}

fn of_descriptors(processes: u64) -> Finding {
    let fact = format!("the limit is enough for {}", counted(processes, "client process"));
    match processes {
        0 => Finding::broken(fact, "raise the hard limit of `ulimit -n`"),
        1..USUAL_PROCESSES => Finding::limited(fact, "raise the hard limit of `ulimit -n`, or use fewer --processes"),
        _ => Finding::fine(fact),
    }
}

pub(super) fn processes() -> Vec<Finding> {
    // The kernel does not apply the limit to root.
    let limit = getrlimit(Resource::Nproc).current.filter(|_| !geteuid().is_root());
    vec![of_processes(limit)]
}

fn of_processes(limit: Option<u64>) -> Finding {
    let Some(limit) = limit else {
        return Finding::fine("no limit for this user");
    };
    let fact = format!("the limit of this user is {limit}, threads included, in all programs together");
    // The host has a thread for each client process.
    if limit < 2 * USUAL_PROCESSES {
        return Finding::limited(fact, "raise `ulimit -u`, or use fewer --processes");
    }
    Finding::fine(fact)
}

pub(super) fn memory() -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let limit = |processes| isolation(Level::Auto, None, None, processes).memory_limit;
    vec![match (limit(1), limit(cores)) {
        (Some(all), Some(each)) => of_memory(all >> 20, each >> 20, cores),
        _ => Finding::limited("its size is unknown, so that clients have no limit", "give --memory-limit"),
    }]
}

/// `all` is the half of the memory that clients share, and `each` the share of one of `cores` processes, in MiB.
fn of_memory(all: u64, each: u64, cores: u32) -> Finding {
    let fact = format!("clients share {all} MiB, which is {each} MiB with a process for each of {cores} cores");
    // The share of a process has a lower bound.
    if each * u64::from(cores) > all {
        return Finding::limited(fact, "use fewer --processes; together they may need more than there is");
    }
    Finding::fine(fact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn an_old_kernel_and_another_architecture_are_found() {
        let cases = [
            ("6.1.0-18-amd64", "x86_64", State::Fine),
            ("5.11.0", "aarch64", State::Fine),
            ("5.10.0-28-amd64", "x86_64", State::Broken),
            ("4.19", "x86_64", State::Broken),
            ("6.6.1", "riscv64", State::Limited),
            ("", "x86_64", State::Fine),
        ];
        for (release, machine, state) in cases {
            let finding = of_kernel(release, machine);
            assert_eq!(finding.state, state, "{finding:?}");
            assert_eq!(finding.remedy.is_empty(), state == State::Fine, "{finding:?}");
        }
        assert_eq!(kernel()[0].state, State::Fine);
    }

    #[test]
    fn limits_below_the_usual_number_of_processes_are_found() {
        let descriptors = [0, 1, 63, 64].map(|processes| of_descriptors(processes).state);
        assert_eq!(descriptors, [State::Broken, State::Limited, State::Limited, State::Fine]);
        let processes = [Some(127), Some(128), None].map(|limit| of_processes(limit).state);
        assert_eq!(processes, [State::Limited, State::Fine, State::Fine]);
        assert_eq!(
            [of_memory(512, 256, 2), of_memory(511, 256, 2)].map(|found| found.state),
            [State::Fine, State::Limited]
        );
    }
}
