//! The attempts of a hostile model and their outcomes.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Output,
};

use fedpipe_protocol::Level;
use nix::errno::Errno;

use crate::stage::{Stage, report};

/// The attempts in the order in which they were made, and the outcome of each in each phase.
struct Table {
    names: Vec<String>,
    outcomes: BTreeMap<(String, String), String>,
    descriptors: BTreeSet<String>,
}

const PHASES: [&str; 2] = ["constructor", "train_epoch"];

/// The system calls whose absence makes a kernel appear to lack Landlock, or seccomp.
const LANDLOCK: &[i64] = &[libc::SYS_landlock_create_ruleset];
const SECCOMP: &[i64] = &[libc::SYS_seccomp];

pub(crate) fn every_attempt_fails_and_training_works() {
    let stage = Stage::new(50);
    let output = stage.train("hostile", Level::Require, &[]);
    let table = Table::of(&output);
    let report = report(&output);
    println!("in force: {}", report.in_force.unwrap());
    println!("{:50} {:12} train_epoch", "attempt", "constructor");
    for name in &table.names {
        println!("{name:50} {:12} {}", table.outcome(0, name), table.outcome(1, name));
    }
    let open: Vec<_> = table.outcomes.iter().filter(|(_, outcome)| !outcome.starts_with('E')).collect();
    assert!(open.is_empty(), "{open:?}");
    assert!(table.names.len() > 80, "{} attempts", table.names.len());
    // Standard input is /dev/null; standard output and standard error are pipes.
    assert_eq!(table.descriptors, BTreeSet::from(["0", "1", "2"].map(String::from)));
    // The mean of the pixels, of which half are 0.
    assert!(report.weights[0] > 0.0 && report.weights[0] < 0.5, "{:?}", report.weights);
}

/// Shows that the attempts are sound: without isolation they succeed, except those that need more privileges or another
/// kernel.
pub(crate) fn without_isolation_the_attempts_succeed() {
    let table = Table::of(&Stage::new(50).train("hostile", Level::Off, &[]));
    let failed: Vec<_> = table.names.iter().filter(|name| table.outcome(0, name) != "done").collect();
    println!("{} attempts, of which these fail in any process of this user:", table.names.len());
    failed.iter().for_each(|name| println!("{name:50} {}", table.outcome(0, name)));
    let sound = [
        "read a sibling's partition",
        "read /etc/passwd",
        "read the run directory's ledger",
        "list the run directory",
        "read /proc/self/maps",
        "read /proc/HOST/environ",
        "open its own partition for writing",
        "create a file in /tmp",
        "remove a file",
        "change a file's mode",
        "connect by TCP",
        "listen by TCP",
        "send by UDP",
        "connect to a Unix socket",
        "connect to an abstract socket",
        "fork",
        "vfork",
        "clone a process",
        "clone3 a process",
        "start a thread",
        "execute a program",
        "execute a program by execveat",
        "signal the host",
        "kill the host",
        "outlive the host",
    ];
    let unsound: Vec<_> = failed.iter().filter(|name| sound.contains(&name.as_str())).collect();
    assert!(unsound.is_empty(), "{unsound:?}");
    assert!(sound.iter().all(|name| table.names.iter().any(|known| known == name)));
}

/// Shows that Landlock and seccomp are both necessary. Prints the table for SECURITY.md.
pub(crate) fn either_layer_alone_leaves_something_open() {
    let alone = |absent| Table::of(&Stage::new(50).train("hostile", Level::Auto, absent));
    let (landlock, seccomp) = (alone(SECCOMP), alone(LANDLOCK));
    let both = Table::of(&Stage::new(50).train("hostile", Level::Require, &[]));
    println!("| attempt | error | Landlock alone | seccomp alone |\n|---|---|---|---|");
    for name in &both.names {
        let [both, landlock, seccomp] = [&both, &landlock, &seccomp].map(|table| table.outcome(0, name));
        println!("| {name} | {both} | {landlock} | {seccomp} |");
    }
    let open = |table: &Table, name: &str| assert_eq!(table.outcome(0, name), "done", "{name}");
    open(&landlock, "send by UDP");
    open(&landlock, "make a file in memory");
    open(&seccomp, "read a sibling's partition");
    assert!(seccomp.outcome(0, "create a file in /tmp").starts_with('E'));
    assert!(landlock.outcome(0, "create a file in /tmp").starts_with('E'));
}

pub(crate) fn security_md_names_every_attempt() {
    let table = Table::of(&Stage::new(50).train("hostile", Level::Require, &[]));
    let document = include_str!("../../SECURITY.md");
    let (_, section) = document.split_once("## Attempts of a hostile model").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>()).filter(|row| row[0] != "attempt");
    let written = rows.flat_map(|row| row[0].split(" · ").map(move |name| (name, row[2])).collect::<Vec<_>>());
    let written: BTreeSet<(&str, &str)> = written.collect();
    let seen: BTreeSet<(&str, &str)> = table.names.iter().map(|name| (name.as_str(), table.outcome(0, name))).collect();
    let (missing, stale) =
        (seen.difference(&written).collect::<Vec<_>>(), written.difference(&seen).collect::<Vec<_>>());
    assert!(
        missing.is_empty() && stale.is_empty(),
        "of {} attempts not written: {missing:?}; not seen: {stale:?}",
        seen.len()
    );
}

pub(crate) fn training_gives_the_same_bits_under_the_lock() {
    let stage = Stage::new(2000);
    let [locked, free] = [Level::Require, Level::Off].map(|level| report(&stage.train("logreg", level, &[])));
    println!("lock {:?}; training {:?} under it, {:?} without", locked.lock, locked.training, free.training);
    let bits = |weights: &[f32]| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&locked.weights), bits(&free.weights));
    assert!(locked.weights.iter().any(|&weight| weight != 0.0));
}

impl Table {
    fn of(output: &Output) -> Self {
        let log = String::from_utf8_lossy(&output.stderr);
        let mut table = Self { names: Vec::new(), outcomes: BTreeMap::new(), descriptors: BTreeSet::new() };
        for line in log.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["attempt", phase, name, outcome] => table.add(phase, name, outcome),
                ["descriptor", _, number] => drop(table.descriptors.insert(number.into())),
                _ => println!("{line}"),
            }
        }
        // A process that was replaced or killed has made fewer attempts.
        assert!(output.status.success(), "{}: {log}", output.status);
        assert_eq!(table.outcomes.len(), PHASES.len() * table.names.len());
        table
    }

    fn add(&mut self, phase: &str, name: &str, outcome: &str) {
        if phase == PHASES[0] {
            self.names.push(name.into());
        }
        let outcome = outcome.parse().map_or(outcome.to_string(), |errno| format!("{:?}", Errno::from_raw(errno)));
        self.outcomes.insert((phase.into(), name.into()), outcome);
    }

    fn outcome(&self, phase: usize, name: &str) -> &str {
        self.outcomes.get(&(PHASES[phase].into(), name.into())).map_or("not tried", String::as_str)
    }
}
