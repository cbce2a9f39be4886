//! Isolation in whole runs: the files that a model cannot read, and the limits that end a client. The tests in
//! `crates/client/tests/isolation` try the rights of a single client.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nix::{errno::Errno, libc};
use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, stderr, stdout},
    live::Live,
    refusing::{self, Refused},
    serve::experiment,
};

/// Returns `true` if this kernel, or a container around these tests, lacks a part of isolation, so that the test is
/// meaningless.
#[allow(clippy::print_stderr, reason = "it is a part of a test")]
pub(crate) fn lacking() -> bool {
    let (output, _) = Place::new().try_run("logreg --rounds 1 --isolation require --quiet");
    let errors = stderr(&output);
    let lacking = errors.starts_with("error: isolation is required");
    assert!(lacking || output.status.success(), "{errors}");
    eprint!("{errors}");
    lacking
}

/// Returns the partition files of two clients, which a first run deals.
pub(crate) fn partitions(place: &Place) -> Vec<PathBuf> {
    place.run("logreg --clients 2 --rounds 1 --out dealt");
    let mut folders = vec![place.path("cache")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            folders.extend(path.is_dir().then(|| path.clone()));
            found.extend(
                ["000000", "000001"].iter().any(|name| path.ends_with(format!("{name}.safetensors"))).then_some(path),
            );
        }
    }
    found.sort();
    assert_eq!(found.len(), 2, "{found:?}");
    found
}

/// Returns the outcome of a client's attempt to read a file.
fn outcome(run: &Run, client: usize, file: &Path) -> String {
    let (logs, start) = (run.logs(), format!("client {client} reads {}: ", file.display()));
    logs.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("{start}{logs}")).to_owned()
}

#[test]
fn a_model_reads_its_own_clients_partition_and_no_siblings() {
    const DENIED: &str = "Permission denied (os error 13)";
    if lacking() {
        return;
    }
    let place = Place::new();
    let files = partitions(&place);
    let read = format!("read={},{}", files[0].display(), files[1].display());
    for (more, siblings) in [("require", DENIED), ("auto", DENIED), ("off", "done"), ("auto --processes 1", "done")] {
        let out = more.replace(' ', "-");
        let run =
            place.run(&format!("hostile --clients 2 --rounds 1 --model-option {read} --isolation {more} --out {out}"));
        for client in 0..2 {
            assert_eq!(outcome(&run, client, &files[client]), "done", "{more}: its own");
            assert_eq!(outcome(&run, client, &files[1 - client]), siblings, "{more}: a sibling's");
        }
    }
}

#[test]
fn what_is_in_force_is_in_the_ledger_and_on_the_screen() {
    if lacking() {
        return;
    }
    let place = Place::new();
    let (output, run) = place.try_run("logreg --rounds 1 --memory-limit 300M --cpu-limit 50");
    let [line] = &run.ledger("isolation")[..] else { panic!("{:?}", run.ledger("isolation")) };
    let expected = json!({"level": "auto", "seccomp": true, "no_new_privs": true, "threads": false,
        "memory_limit": 300 << 20, "cpu_seconds": 50, "missing": []});
    check_all(expected.as_object().unwrap(), |(field, value)| {
        if line[field.as_str()] == **value { Ok(()) } else { Err(format!("{line}")) }
    });
    let abi = line["landlock_abi"].as_u64().unwrap();
    let printed = stdout(&output);
    let expected =
        format!("isolation: Landlock {abi}, seccomp, no new privileges, memory 300 MiB, 50 s of processor time\n");
    assert_eq!(printed.matches(&expected).count(), 1, "{printed}");

    let (output, run) = place.try_run("logreg --rounds 1 --isolation off --memory-limit none --out off");
    assert!(stdout(&output).contains("\nisolation: none\n"), "{}", stdout(&output));
    let line = &run.ledger("isolation")[0];
    assert_eq!((&line["level"], &line["memory_limit"]), (&json!("off"), &json!(null)));

    let (output, _) = place.try_run("logreg --rounds 1 --quiet --out quiet");
    assert!(!stdout(&output).contains("isolation") && stderr(&output).is_empty(), "{}", stdout(&output));
}

#[test]
fn isolation_changes_no_bit() {
    if lacking() {
        return;
    }
    let place = Place::new();
    let bits = |level| place.run(&format!("mlp --rounds 2 --isolation {level} --out {level}")).weights_sha256();
    assert_eq!(bits("require"), bits("off"));
}

/// Runs `fedpipe` as on a kernel that has no Landlock.
pub(crate) fn without_landlock(command: Command) -> Output {
    without(&[libc::SYS_landlock_create_ruleset], command)
}

/// Runs `fedpipe` as on a kernel that lacks these system calls.
fn without(calls: &[i64], command: Command) -> Output {
    refusing::output(command, vec![Refused::calls(calls, Errno::ENOSYS)])
}

#[test]
fn a_node_opens_no_model_where_the_isolation_that_it_requires_is_missing() {
    let place = Place::new();
    experiment(&place, "model = \"misbehaving\"\nclients.count = 2");
    fs::write(place.path("marks/constructor-asked"), "").unwrap();
    let ran = place.path("marks/constructor-ran");
    let nothing = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp];
    let serve = "serve --experiment experiment.toml --client 0 --socket s --isolation require";
    let output = without(&nothing, place.fedpipe(serve));
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let says = "error: isolation is required, but is missing here: Landlock (";
    assert!(errors.starts_with(says) && errors.contains("; seccomp (") && errors.lines().count() == 1, "{errors}");
    assert!(!ran.exists() && !place.path("s").exists());
    // The list of models needs no isolation, so that the constructor runs, and may write here.
    let output = without(&nothing, place.fedpipe("models"));
    assert!(stdout(&output).contains("logreg ") && ran.exists(), "{}", stderr(&output));
}

#[test]
fn a_kernel_that_lacks_a_piece_is_refused_where_all_are_required() {
    let place = Place::new();
    let (command, run) = place.command("logreg --rounds 1 --isolation require --quiet");
    let output = without_landlock(command);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let says = "error: isolation is required, but is missing here: Landlock (";
    assert!(errors.starts_with(says) && errors.ends_with("; --isolation auto continues without\n"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    // The name of the folder is free again.
    assert!(!run.0.exists());

    let (command, run) = place.command("logreg --rounds 1");
    let output = without_landlock(command);
    let printed = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(printed.matches("; missing: Landlock (").count(), 1, "{printed}");
    let [line] = &run.ledger("isolation")[..] else { panic!("{:?}", run.ledger("isolation")) };
    assert_eq!((&line["landlock_abi"], &line["seccomp"]), (&json!(null), &json!(true)));
    assert!(line["missing"][0].as_str().unwrap().starts_with("Landlock ("), "{line}");
}

#[test]
fn a_client_that_a_limit_ends_is_named_with_it() {
    let cases = [
        ("allocate", "--memory-limit 300M", json!({"kind": "memory_limit", "bytes": 300 << 20}), "memory", "300M"),
        ("spin", "--cpu-limit 1", json!({"kind": "cpu_limit", "seconds": 1}), "cpu", "1 s of processor time"),
        (
            "spin-past-limit",
            "--cpu-limit 1",
            json!({"kind": "cpu_limit", "seconds": 1}),
            "cpu",
            "1 s of processor time",
        ),
        // The limits hold without isolation.
        (
            "allocate",
            "--memory-limit 400M --isolation off",
            json!({"kind": "memory_limit", "bytes": 400 << 20}),
            "memory",
            "400M",
        ),
    ];
    check_all(cases, |(fault, limit, cause, option, says)| {
        let place = Place::new();
        let (output, run) = place.try_run(&format!(
            "misbehaving --clients 3 --rounds 2 --on-failure drop {limit} --model-option fault={fault} \
             --model-option client=1 --model-option round=1"
        ));
        let errors = stderr(&output);
        if !output.status.success() || !errors.contains(says) || !errors.contains(&format!("--{option}-limit raises")) {
            return Err(format!("{} {errors}", output.status));
        }
        let causes: Vec<Value> = run.ledger("client_crashed").iter().map(|line| line["cause"].clone()).collect();
        let clients: Vec<Value> = run.ledger("round").iter().map(|line| line["clients"].clone()).collect();
        if causes == [cause.clone()] && clients == [json!(2), json!(3)] {
            Ok(())
        } else {
            Err(format!("{causes:?} {clients:?}"))
        }
    });
}

#[test]
fn a_client_knows_nothing_of_the_hosts_environment_but_what_it_needs() {
    let place = Place::new();
    let (mut command, run) =
        place.command("misbehaving --clients 1 --model-option fault=sleep --model-option once=marks");
    command.env("SECRET_TOKEN", "hunter2").env("RUST_BACKTRACE", "0").env("FEDPIPE_ISA", "portable");
    let mut live = Live::of(&place, command, run);
    live.await_fault(0, 1);
    let environment = live.client(0).proc("environ");
    let mut names: Vec<&str> = environment.split_terminator('\0').filter_map(|entry| entry.split('=').next()).collect();
    names.retain(|name| *name != "LD_LIBRARY_PATH");
    names.sort_unstable();
    assert_eq!(names, ["FEDPIPE_CLIENT", "FEDPIPE_ISA", "RUST_BACKTRACE"], "{environment:?}");
}

#[test]
fn a_run_continues_under_other_limits_and_says_so() {
    if lacking() {
        return;
    }
    let place = Place::new();
    place.run("logreg --rounds 2 --isolation off --memory-limit 1G");
    let output = place.fedpipe("run --resume out --isolation require --memory-limit none").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = Run(place.path("out")).ledger("isolation");
    assert_eq!(lines.iter().map(|line| line["level"].as_str().unwrap()).collect::<Vec<_>>(), ["off", "require"]);
    let output = place.fedpipe("verify out --isolation require").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
