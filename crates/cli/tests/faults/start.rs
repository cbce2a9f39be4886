//! Faults before a model can train: in all processes, or in a fresh one in the middle of a run.

use std::{fs, time::Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    Fault,
    common::{Place, stderr},
    stage::{RUN, Stage, await_nobody, since},
    table::Row,
};

const PANIC: &str = "the model panicked: as it was told, the model panics";

pub(crate) fn faults() -> Vec<Fault> {
    let model = |at: &'static str, fault: &'static str| {
        let arguments = format!("--model-option fault={fault} --model-option at={at}");
        move || never_begins(&Place::new(), &arguments, 3, PANIC)
    };
    vec![
        ("panic-in-describe", Box::new(panic_in_describe)),
        ("panic-in-build", Box::new(model("build", "panic"))),
        ("panic-in-layout", Box::new(model("layout", "panic"))),
        ("segfault-in-build", Box::new(segfault_in_build)),
        ("panic-in-a-fresh-build", Box::new(panic_in_a_fresh_build)),
    ]
}

/// Checks that the run ends with one sentence and leaves nothing.
fn never_begins(place: &Place, arguments: &str, code: i32, says: &str) -> Row {
    let (mut command, run) = place.command(&format!("{RUN} {arguments}"));
    let output = command.output().unwrap();
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.starts_with("error: ") && errors.lines().count() == 1 && errors.contains(says), "{errors}");
    assert!(!run.0.exists(), "the run directory is there");
    await_nobody(place);
    Row { happened: says.into(), detected: None, cost: "the run, which never began".into() }
}

fn panic_in_describe() -> Row {
    let place = Place::new();
    fs::create_dir_all(place.path("marks")).unwrap();
    fs::write(place.path("marks/describe"), "").unwrap();
    never_begins(&place, "", 3, PANIC)
}

fn segfault_in_build() -> Row {
    let place = Place::new();
    let arguments = format!("{RUN} --model-option fault=segfault --model-option at=build");
    let (output, run) = place.try_run(&arguments);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(6), "{errors}");
    let last = errors.lines().last().unwrap();
    assert_eq!(last, "error: no client could be started: killed by SIGSEGV");
    let crashes = run.ledger("client_crashed");
    assert!(crashes.len() > 4 && crashes.iter().all(|line| line["cause"] == json!({"kind": "signal", "number": 11})));
    await_nobody(&place);
    Row { happened: last["error: ".len()..].into(), detected: None, cost: "the run, which never began".into() }
}

/// A client whose fresh process cannot build its model fails like any other.
fn panic_in_a_fresh_build() -> Row {
    let place = Place::new();
    let arguments = "--model-option fault=panic --model-option at=build --model-option armed=marks/armed";
    let mut stage = Stage::held_in_two(&place, arguments);
    stage.live.mark("armed");
    let start = Instant::now();
    stage.live.client(1).signal(Signal::SIGKILL);
    let detected = since(start, stage.await_crash("client 1"));
    let what = "the loss of the fresh process";
    stage.live.await_said(what, |line| line.contains("client 1 crashed in round 2") && line.contains(PANIC));
    fs::remove_file(place.path("marks/armed")).unwrap();
    stage.live.mark("round-2");
    stage.await_whole(0);
    let ended = stage.end();
    ended.is_without_one_update();
    Row { happened: PANIC.into(), detected: Some(detected), cost: "1 update of 1 round".into() }
}
