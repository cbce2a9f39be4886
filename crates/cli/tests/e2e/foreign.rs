//! Clients that are programs: `--client COMMAND`. The program here is `fixtures/client.sh`.

mod commands;
pub(crate) mod confinement;

use std::{
    fs,
    process::{Command, Output},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, eventually, repository, sha256, stderr, stdout},
    live::{Live, children},
};

/// Returns a place with the program in it.
pub(crate) fn place() -> Place {
    let place = Place::new();
    fs::copy(repository().join("crates/cli/fixtures/client.sh"), place.path("client.sh")).unwrap();
    place
}

/// Returns the command of a run whose client commits a fault until the mark exists.
///
/// The run has no isolation, since a fault writes the mark and may start a program. Other tests cover isolation.
pub(crate) fn command(place: &Place, fault: &str, arguments: &str) -> (Command, Run) {
    let (mut command, run) = place.command(arguments);
    command.args(["--isolation", "off"]);
    command.args(["--client", &format!("bash client.sh {fault} marks/fault")]);
    (command, run)
}

fn run(place: &Place, fault: &str, arguments: &str) -> Run {
    let (mut command, run) = command(place, fault, arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{fault} {arguments}: {}\n{}", output.status, stderr(&output));
    run
}

/// Returns the one weight of the program's model.
pub(crate) fn weight(run: &Run) -> f32 {
    f32::from_le_bytes(run.read("model.safetensors").last_chunk().copied().unwrap())
}

fn undisturbed() -> String {
    let place = place();
    run(&place, "none", "").weights_sha256()
}

#[test]
fn a_program_is_a_client_and_is_known_by_its_files() {
    let place = place();
    let run = run(&place, "none", "--rounds 2");
    // The weight is the mean over four clients with 500 examples each.
    assert_eq!(weight(&run), 2.5);
    let script = sha256(&fs::read(place.path("client.sh")).unwrap());
    assert_eq!(run.ledger("ready")[0]["client_sha256"], json!({"client.sh": script}));
    assert_eq!(run.ledger("ready")[0]["dylib_sha256"], Value::Null);
    assert_eq!(run.summary()["model"], json!("bash"));
    assert_eq!(run.summary()["client"], json!("bash client.sh none marks/fault"));
    assert!(!run.0.join("model.so").exists());
    // The program has one thread, and no dylib.
    assert_eq!(run.logs().lines().next(), Some("threads: 1 1 1; dylib: \"dylib\":null"));
}

#[test]
fn a_run_is_called_after_its_program() {
    let place = place();
    let mut command = place.fedpipe("run --data sample --rounds 1");
    command.args(["--client", "bash ./client.sh none marks/fault"]);
    assert!(command.output().unwrap().status.success());
    fs::create_dir(place.path("mine")).unwrap();
    fs::rename(place.path("client.sh"), place.path("mine/client.sh")).unwrap();
    let mut command = place.fedpipe("run --data sample --rounds 1");
    command.args(["--client", "bash mine/client.sh none marks/fault"]);
    assert!(command.output().unwrap().status.success());
    assert!(place.path("runs/client-1/summary.json").exists() && place.path("runs/mine-1/summary.json").exists());
}

#[test]
fn a_crashed_program_is_tried_again_and_costs_no_bit() {
    let whole = undisturbed();
    let cases = [
        ("exit", "", json!({"kind": "exit", "code": 7})),
        ("child", "", json!({"kind": "exit", "code": 7})),
        ("kill", "", json!({"kind": "signal", "number": 11})),
        ("failed", "", json!({"kind": "reported", "failure": "model", "message": "as it was told, the client fails"})),
        // The deadline includes the start of bash: it must be long enough for a loaded machine.
        ("sleep", "--client-timeout 4", json!({"kind": "deadline", "seconds": 4.0})),
        ("garbage", "", json!({"kind": "protocol", "message": "it starts with \"Load\" instead of \"fdp1\""})),
    ];
    check_all(cases, |(fault, arguments, cause)| {
        let place = place();
        let run = run(&place, fault, arguments);
        let crashed = run.ledger("client_crashed");
        let [line] = crashed.as_slice() else { return Err(format!("{crashed:?}")) };
        let is_recorded = (&line["client"], &line["round"], &line["then"]) == (&json!(1), &json!(2), &json!("retried"));
        let is_right = is_recorded && run.weights_sha256() == whole && line["cause"] == *cause;
        if is_right { Ok(()) } else { Err(line.to_string()) }
    });
}

#[test]
fn an_answer_that_is_not_taken_costs_its_client_alone() {
    let whole = undisturbed();
    let cases = [
        ("loss", "rejected", "its training loss is 1.7e308; lower --lr"),
        ("no-loss", "rejected", "its training loss is not finite; lower --lr"),
        ("huge", "rejected", "weight 0 is 3.4028235e38; lower --lr"),
        ("part", "protocol", "its answer has the part \"more\", which was not asked for"),
    ];
    check_all(cases, |(fault, kind, says)| {
        let place = place();
        let run = run(&place, fault, "");
        let crashed = run.ledger("client_crashed");
        let [line] = crashed.as_slice() else { return Err(format!("{crashed:?}")) };
        let cause = &line["cause"];
        if cause["kind"] == *kind && cause["message"] == *says && run.weights_sha256() == whole {
            Ok(())
        } else {
            Err(line.to_string())
        }
    });
}

/// The host waits for the rest of a message that an idle client has begun, but not for ever.
#[test]
fn a_byte_after_a_whole_answer_costs_its_client_alone() {
    let whole = undisturbed();
    for policy in ["retry", "drop", "abort"] {
        let place = place();
        let (mut command, run) = command(&place, "byte", &format!("--on-failure {policy}"));
        let output = command.output().unwrap();
        let errors = stderr(&output);
        // The next request may arrive before the host finds the byte.
        let [line] = &run.ledger("client_crashed")[..] else { panic!("{errors}") };
        assert_eq!((&line["process"], &line["cause"]["kind"]), (&json!(1), &json!("protocol")), "{line}");
        match policy {
            "abort" => assert_eq!(output.status.code(), Some(6), "{errors}"),
            "drop" => assert!(output.status.success(), "{errors}"),
            _ => assert_eq!((output.status.code(), run.weights_sha256()), (Some(0), whole.clone()), "{errors}"),
        }
    }
}

#[test]
fn a_layout_that_is_none_is_refused_before_the_first_round() {
    let cases = [
        ("layout-empty", 3, "has no tensor; give at least one"),
        ("layout-zero", 3, "has the tensor \"w\" of shape [0], which has no weight"),
        ("layout-twice", 3, "has two tensors of the name \"w\""),
        ("layout-reserved", 3, "has a tensor of the name \"__metadata__\""),
        ("layout-local", 3, "has no tensor in the place \"shared\", so that nothing is federated"),
        ("layout-endless", 3, "has more than 1073741824 weights"),
        ("claim", 6, "a payload of 4294967292 bytes, at most 4 were asked for"),
    ];
    check_all(cases, |(fault, code, says)| {
        let place = place();
        let (mut command, _) = command(&place, fault, "--quiet");
        let output = command.output().unwrap();
        let last = stderr(&output).lines().last().unwrap_or_default().to_owned();
        if output.status.code() == Some(*code) && last.starts_with("error: ") && last.contains(says) {
            Ok(())
        } else {
            Err(format!("{}: {last}", output.status))
        }
    });
}

#[test]
fn pooled_programs_have_the_same_bits() {
    for processes in [1, 3] {
        let place = place();
        let pooled = run(&place, "none", &format!("--processes {processes}"));
        assert_eq!(pooled.weights_sha256(), undisturbed());
    }
}

/// Returns a run that ended in round 2 and can be resumed.
fn interrupted(place: &Place) -> Run {
    let (mut command, run) = command(place, "exit", "--on-failure abort");
    assert_eq!(command.output().unwrap().status.code(), Some(6));
    run
}

pub(crate) fn resume(place: &Place, more: &str) -> Output {
    place.fedpipe(&format!("run --resume out {more}")).output().unwrap()
}

#[test]
fn a_run_of_a_program_is_resumed() {
    let place = place();
    let run = interrupted(&place);
    assert!(resume(&place, "").status.success());
    assert_eq!((run.ledger("round").len(), run.weights_sha256()), (5, undisturbed()));
}

#[test]
fn another_program_is_refused_by_name_unless_forced() {
    let place = place();
    let run = interrupted(&place);
    let script = fs::read_to_string(place.path("client.sh")).unwrap();
    fs::write(place.path("client.sh"), script + "# changed\n").unwrap();
    let output = resume(&place, "");
    let printed = stderr(&output);
    assert!(
        output.status.code() == Some(2) && printed.contains("client.sh is ") && printed.contains("--force"),
        "{printed}"
    );
    fs::rename(place.path("client.sh"), place.path("other.sh")).unwrap();
    let output = resume(&place, "");
    assert!(stderr(&output).contains("there is no file client.sh here"), "{}", stderr(&output));
    fs::rename(place.path("other.sh"), place.path("client.sh")).unwrap();
    assert!(resume(&place, "--force").status.success());
    assert!(run.ledger("resumed")[0]["forced"][0].as_str().unwrap().starts_with("client.sh is "));
}

#[test]
fn a_run_of_a_program_is_verified_with_the_same_program_alone() {
    let place = place();
    run(&place, "none", "--rounds 2");
    let verify = || place.fedpipe("verify out").output().unwrap();
    assert_eq!(stdout(&verify()).lines().last(), Some("verified: 2 rounds have the same bits"));
    let script = fs::read_to_string(place.path("client.sh")).unwrap();
    fs::write(place.path("client.sh"), script + "# changed\n").unwrap();
    let (code, printed) = (verify().status.code(), stderr(&verify()));
    assert!(code == Some(2) && printed.contains("the run cannot be verified, since client.sh is "), "{printed}");
}

#[test]
fn a_program_cannot_be_reloaded() {
    let place = place();
    let (command, run) = command(&place, "sleep", "");
    let live = Live::of(&place, command, run.clone());
    eventually("the client sleeps", || place.path("marks/fault").exists().then_some(()));
    live.signal(Signal::SIGUSR1);
    // The sleeping client is killed; then the round ends, and with it the wait for a reload.
    kill(Pid::from_raw(process(&live, 1)), Signal::SIGKILL).unwrap();
    let (status, errors) = live.end();
    assert!(status.success() && errors.contains("the model stays as it is: a client of your own"), "{errors}");
    assert_eq!(run.weights_sha256(), undisturbed());
}

/// Returns the process of the program with this number.
fn process(live: &Live<'_>, number: u32) -> i32 {
    let ends = format!("\0{number}\0");
    let is_it = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(&ends));
    children(live.pid()).into_iter().map(|(pid, _)| pid).find(|pid| is_it(*pid)).unwrap()
}
