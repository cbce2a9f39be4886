//! Strategies that are programs: `--strategy-program COMMAND`. The program here is `fixtures/client.sh`.

use std::{fs, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    common::{Place, Run, check_all, eventually, sha256, stderr, stdout},
    foreign::{
        command,
        confinement::{confined, unconfined},
        place, resume, weight,
    },
    isolation::lacking,
    live::{Live, children},
};

/// As a strategy, the program returns the weight 1 + the length of its state, to which it adds a byte each round.
#[test]
fn a_program_is_a_strategy_whose_state_is_resumed() {
    let place = place();
    let (mut command, run) = command(&place, "exit", "--rounds 4 --on-failure abort");
    command.args(["--strategy-program", "bash client.sh exit marks/strategy"]);
    assert_eq!(command.output().unwrap().status.code(), Some(6));
    assert_eq!((run.ledger("round").len(), weight(&run)), (1, 1.0));
    // This time the strategy exits in round 2.
    let output = resume(&place, "");
    let says = "error: the strategy's program crashed in round 2: it exited with code 7";
    assert!(output.status.code() == Some(6) && stderr(&output).contains(says), "{}", stderr(&output));
    assert!(resume(&place, "").status.success());
    assert_eq!((run.ledger("round").len(), weight(&run)), (4, 4.0));
    assert_eq!(run.summary()["strategy"], json!("program bash client.sh exit marks/strategy"));
    let script = sha256(&fs::read(place.path("client.sh")).unwrap());
    assert_eq!(run.ledger("ready")[0]["strategy_sha256"]["client.sh"], json!(script));
    assert!(fs::read_to_string(run.0.join("clients/strategy.log")).unwrap().contains("round 4: state of 3 bytes"));
    let verified = place.fedpipe("verify out").output().unwrap();
    assert_eq!(stdout(&verified).lines().last(), Some("verified: 4 rounds have the same bits"));
}

/// Returns the command of a run whose strategy commits this fault in round 2.
fn with_strategy(place: &Place, fault: &str, arguments: &str) -> (Command, Run) {
    let (mut command, run) = command(place, "none", &format!("--rounds 3 {arguments}"));
    command.args(["--strategy-program", &format!("bash client.sh {fault} marks/strategy")]);
    (command, run)
}

#[test]
fn a_strategy_that_dies_or_hangs_is_named_and_the_run_can_go_on() {
    let cases = [
        (
            "kill",
            "--on-failure abort",
            "killed by SIGSEGV; its last words: round 1: state of 0 bytes | round 2: state of 1 bytes",
        ),
        (
            "sleep",
            "--on-failure abort --client-timeout 4",
            "it gave no answer within 4 s (--client-timeout raises this)",
        ),
        ("garbage", "--on-failure abort", "it broke the protocol: it starts with \"Load\" instead of \"fdp1\""),
        ("failed", "--on-failure abort", "as it was told, the client fails"),
    ];
    check_all(cases, |(fault, arguments, says)| {
        let place = place();
        let (mut command, run) = with_strategy(&place, fault, arguments);
        let output = command.output().unwrap();
        let errors = stderr(&output);
        let is_shown = errors.contains("error: the strategy's program crashed in round 2: ") && errors.contains(says);
        if output.status.code() != Some(6) || !is_shown || run.ledger("round").len() != 1 {
            return Err(format!("{}: {errors}", output.status));
        }
        if resume(&place, "").status.success() && (run.ledger("round").len(), weight(&run)) == (3, 3.0) {
            Ok(())
        } else {
            Err(format!("{} {:?}", weight(&run), run.ledger("round")))
        }
    });
}

#[test]
fn a_strategy_that_dies_or_hangs_is_started_again_and_costs_no_bit() {
    let whole = {
        let place = place();
        let (mut command, run) = with_strategy(&place, "none", "");
        assert!(command.output().unwrap().status.success());
        run.weights_sha256()
    };
    let cases = [
        ("kill", "--on-failure retry", json!({"kind": "signal", "number": 11})),
        ("exit", "--on-failure drop", json!({"kind": "exit", "code": 7})),
        ("sleep", "--client-timeout 4", json!({"kind": "deadline", "seconds": 4.0})),
        ("garbage", "", json!({"kind": "protocol", "message": "it starts with \"Load\" instead of \"fdp1\""})),
        ("failed", "", json!({"kind": "reported", "failure": "model", "message": "as it was told, the client fails"})),
    ];
    check_all(cases, |(fault, arguments, cause)| {
        let place = place();
        let (mut command, run) = with_strategy(&place, fault, arguments);
        let output = command.output().unwrap();
        let errors = stderr(&output);
        let is_shown = errors.contains("warning: the strategy's program crashed in round 2 after ")
            && errors.contains("\n  a fresh process does its work again\n");
        let crashes = run.ledger("strategy_crashed");
        let [line] = &crashes[..] else { return Err(format!("{crashes:?} {errors}")) };
        let is_recorded = (&line["round"], &line["then"], &line["cause"]) == (&json!(2), &json!("retried"), cause);
        if output.status.success() && is_shown && is_recorded && run.weights_sha256() == whole {
            Ok(())
        } else {
            Err(format!("{line} {errors}"))
        }
    });
}

#[test]
fn a_strategy_that_dies_twice_in_a_round_ends_the_run_which_can_go_on() {
    let place = place();
    let (mut command, run) = command(&place, "none", "--rounds 3");
    // The program cannot create its mark, so that each of its processes exits in round 2.
    command.args(["--strategy-program", "bash client.sh exit later/mark"]);
    let output = command.output().unwrap();
    let errors = stderr(&output);
    let says = "error: the strategy's program crashed in round 2: it exited with code 1; its last words: ";
    assert!(output.status.code() == Some(6) && errors.contains(says), "{errors}");
    let then: Vec<_> = run.ledger("strategy_crashed").iter().map(|line| line["then"].clone()).collect();
    assert_eq!(then, [json!("retried"), json!("aborted")]);
    assert_eq!(run.ledger("round").len(), 1);
    fs::create_dir(place.path("later")).unwrap();
    fs::write(place.path("later/mark"), "").unwrap();
    assert!(resume(&place, "").status.success());
    assert_eq!((run.ledger("round").len(), weight(&run)), (3, 3.0));
    let verified = place.fedpipe("verify out").output().unwrap();
    assert_eq!(stdout(&verified).lines().last(), Some("verified: 3 rounds have the same bits"));
}

/// Client 1 sleeps in round 2, and the strategy is idle meanwhile.
#[test]
fn a_strategy_that_dies_idle_is_replaced_and_the_round_keeps_its_second_try() {
    let place = place();
    let (mut command, run) = command(&place, "sleep", "--rounds 3");
    command.args(["--strategy-program", "bash client.sh exit marks/strategy"]);
    let live = Live::of(&place, command, run.clone());
    eventually("the client sleeps", || place.path("marks/fault").exists().then_some(()));
    // The last arguments of the program are its mark, two descriptors and its number.
    let process = |mark: &str, number: u32| {
        let is_it = |pid: i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.contains(mark) && line.ends_with(&format!("\0{number}\0"))
        };
        children(live.pid()).into_iter().map(|(pid, _)| pid).find(|pid| is_it(*pid)).unwrap()
    };
    let (strategy, sleeper) = (process("marks/strategy", 0), process("marks/fault", 1));
    kill(Pid::from_raw(strategy), Signal::SIGKILL).unwrap();
    eventually("the strategy is dead", || children(live.pid()).contains(&(strategy, 'Z')).then_some(()));
    kill(Pid::from_raw(sleeper), Signal::SIGKILL).unwrap();
    let (status, errors) = live.end();
    assert!(status.success(), "{errors}");
    // The fresh process exits once, when it has work.
    let then: Vec<_> = run.ledger("strategy_crashed").iter().map(|line| line["then"].clone()).collect();
    assert_eq!(then, [json!("replaced"), json!("retried")], "{errors}");
    assert_eq!((run.ledger("round").len(), weight(&run)), (3, 3.0));
}

#[test]
fn a_stop_ends_a_strategy_that_is_at_work() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let place = place();
        let (command, run) = with_strategy(&place, "sleep", "");
        let live = Live::of(&place, command, run.clone());
        eventually("the strategy sleeps", || place.path("marks/strategy").exists().then_some(()));

        live.signal(signal);
        let (status, errors) = live.end();
        // A run that does not receive the signal is ended after a grace period, without results.
        assert_eq!(
            (status.code(), &run.summary()["stopped"]),
            (Some(code), &json!({"signal": signal as i32})),
            "{errors}"
        );
        assert!(!errors.contains("crashed"), "{errors}");
        assert!(resume(&place, "").status.success());
        assert_eq!((run.ledger("round").len(), weight(&run)), (3, 3.0));
    }
}

#[test]
fn a_strategy_is_confined_as_a_client_is() {
    if lacking() {
        return;
    }
    let (_place, run) = confined("--strategy-program");
    assert_eq!(weight(&run), 2.0);
    let line = &run.ledger("strategy_isolation")[0];
    // The strategy holds the updates of all clients, so that the memory limit of clients does not hold for it.
    assert_eq!(
        (&line["level"], &line["seccomp"], &line["memory_limit"]),
        (&json!("require"), &json!(true), &json!(null))
    );

    let (_place, run) = unconfined("--strategy-program");
    assert_eq!(run.ledger("strategy_isolation")[0]["level"], json!("off"));
}
