//! `--overwrite`: a run takes the place of another.

use std::fs;

use nix::sys::signal::Signal;

use crate::{
    common::{Place, check_all, stderr},
    live::Live,
};

const SMALL: &str = "logreg --rounds 1 --quiet";

#[test]
fn a_run_is_replaced_whole_and_nothing_else_is_left() {
    let place = Place::new();
    let first = place.run(&format!("{SMALL} --seed 1")).weights_sha256();
    let others: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let run = place.run(&format!("{SMALL} --seed 2 --overwrite"));
    assert_ne!(run.weights_sha256(), first);
    assert_eq!(run.ledger("started").len(), 1);
    let now: Vec<_> = fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(now, others);
    // An absent directory needs no replacement. The experiment may be that of the run that is replaced.
    assert_eq!(place.run(&format!("{SMALL} --seed 1 --out new --overwrite")).weights_sha256(), first);
    assert_eq!(place.run("--config new/experiment.toml --out new --overwrite").weights_sha256(), first);
    let (refused, _) = place.try_run(SMALL);
    assert!(stderr(&refused).contains("already holds a run; give another folder with --out, or --overwrite"));
}

#[test]
fn what_is_no_run_is_not_replaced() {
    let place = Place::new();
    fs::create_dir_all(place.path("notes")).unwrap();
    fs::write(place.path("notes/experiment.toml"), "").unwrap();
    fs::write(place.path("notes/ledger.jsonl"), "{}\n").unwrap();
    place.run(&format!("{SMALL} --out mixed"));
    fs::write(place.path("mixed/thoughts.txt"), "of mine").unwrap();
    fs::write(place.path("file"), "of mine").unwrap();
    let before = place.contents();
    let cases = [
        ("notes", 5, "--overwrite replaces a run alone, and notes holds none; give another folder with --out"),
        ("mixed", 5, "and thoughts.txt in mixed is no part of one; move it to another folder"),
        ("file", 5, "cannot use file: Not a directory"),
    ];
    check_all(cases, |(out, code, expected)| {
        let (output, _) = place.try_run(&format!("{SMALL} --overwrite --out {out}"));
        let printed = stderr(&output);
        let fits = output.status.code() == Some(*code) && printed.contains(expected) && printed.lines().count() == 1;
        if fits { Ok(()) } else { Err(format!("{}: {printed}", output.status)) }
    });
    assert_eq!(place.contents(), before);
    let without = place.fedpipe("run logreg --overwrite").output().unwrap();
    assert_eq!(without.status.code(), Some(2), "{}", stderr(&without));
}

#[test]
fn a_run_that_never_began_leaves_the_one_before() {
    let place = Place::new();
    place.run(SMALL);
    let before = place.contents();
    let (output, _) = place.try_run("logreg --model-option nonesuch=1 --overwrite");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let after = place.contents();
    // The lock has the number of another process.
    let plain = |contents: Vec<(std::path::PathBuf, String)>| -> Vec<_> {
        contents.into_iter().filter(|(path, _)| !path.ends_with("host.pid")).collect()
    };
    assert_eq!(plain(after), plain(before));
}

#[test]
fn a_run_under_way_is_not_replaced_and_one_that_was_killed_is() {
    let place = Place::new();
    let hold = format!("misbehaving --model-option hold={} --quiet", place.path("marks").display());
    let mut live = Live::start(&place, &format!("{hold} --clients 1"));
    live.await_held(1, 1);
    let (output, _) = place.try_run(&format!("{SMALL} --overwrite"));
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("another fedpipe is at work in out"), "{printed}");
    live.signal(Signal::SIGKILL);
    live.end();
    place.run(&format!("{SMALL} --overwrite"));
}

/// A host that is killed before its run has begun leaves a complete run in the place: its own, which can be resumed.
#[test]
fn a_kill_in_between_leaves_a_whole_run() {
    let place = Place::new();
    let usual = place.run(&format!("{SMALL} --out usual")).weights_sha256();
    place.run(&format!("{SMALL} --seed 7"));
    let (mut command, run) = place.command(&format!("{SMALL} --overwrite"));
    command.env("LD_PRELOAD", crate::common::dylib("misbehaving"));
    let live = Live::of(&place, command, run.clone());
    // The clients send no hello before the mark exists, so that the run has not begun.
    crate::common::eventually("clients", || (live.clients().len() == 4).then_some(()));
    live.signal(Signal::SIGKILL);
    live.end();
    assert_eq!(run.ledger("started")[0]["experiment"]["seed"], 0);
    let resumed = place.fedpipe("run --quiet --resume out").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(run.weights_sha256(), usual);
}
