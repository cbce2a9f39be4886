//! Clients that are lost, and what that costs: one client's update of one round, or nothing.
//!
//! Every fault of the model `misbehaving` is for client 1 in round 2 of a run of 4 clients.

use std::fs::File;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, eventually, stderr},
    live::{Live, children},
};

const RUN: &str = "misbehaving --clients 4 --rounds 3";

/// The same run with a fault, which happens once where `once`.
fn faulty(fault: &str, once: bool) -> String {
    let once = if once { "--model-option once=marks" } else { "" };
    format!("{RUN} --model-option fault={fault} --model-option client=1 --model-option round=2 {once}")
}

fn undisturbed() -> String {
    Place::new().run(RUN).weights_sha256()
}

/// Checks the one line that a loss left, and gives its cause.
fn cause(run: &Run, then: &str) -> Result<Value, String> {
    let lost = run.ledger("lost");
    let [line] = lost.as_slice() else { return Err(format!("{} lost lines: {lost:?}", lost.len())) };
    let expected = [("round", json!(2)), ("client", json!(1)), ("process", json!(1)), ("then", json!(then))];
    match expected.iter().find(|(field, value)| line[field] != *value) {
        Some((field, value)) => Err(format!("{field} is not {value} in {line}")),
        None if run.summary()["failures"] != json!(1) => Err(format!("failures are not 1 in {}", run.summary())),
        None => Ok(line["cause"].clone()),
    }
}

#[test]
fn a_lost_client_is_tried_again_and_costs_no_bit() {
    let whole = undisturbed();
    let cases = [
        ("error", json!({"kind": "reported", "failure": "model"})),
        ("panic", json!({"kind": "reported", "failure": "model"})),
        ("too-few", json!({"kind": "reported", "failure": "model"})),
        ("too-many", json!({"kind": "reported", "failure": "model"})),
        ("rounding", json!({"kind": "reported", "failure": "model"})),
        ("nan", json!({"kind": "rejected"})),
        ("infinite", json!({"kind": "rejected"})),
        ("exit-0", json!({"kind": "exit", "code": 0})),
        ("exit-3", json!({"kind": "exit", "code": 3})),
        ("abort", json!({"kind": "signal", "number": 6})),
        ("overflow-stack", json!({"kind": "signal", "number": 6})),
        ("segfault", json!({"kind": "signal", "number": 11})),
    ];
    check_all(cases, |(fault, expected)| {
        let place = Place::new();
        let mut live = Live::start(&place, &faulty(fault, true));
        live.await_fault(1, 2);
        live.allow_fault(1, 2);
        let run = live.run.clone();
        let (status, errors) = live.end();
        if !status.success() {
            return Err(format!("{status}: {errors}"));
        }
        let cause = cause(&run, "retried")?;
        let differs = expected.as_object().unwrap().iter().find(|(field, value)| cause[field] != **value);
        if let Some((field, value)) = differs {
            return Err(format!("{field} is not {value} in {cause}"));
        }
        let same = run.weights_sha256() == whole && run.ledger("round")[1]["failed"] == json!(0);
        same.then_some(()).ok_or("it is not the run in which nothing failed".into())
    });
}

#[test]
fn a_killed_client_is_reaped_and_replaced_while_the_run_goes_on() {
    let place = Place::new();
    let standing =
        format!("{RUN} --jobs 4 --model-option fault=sleep --model-option round=2 --model-option once=marks");
    let mut live = Live::start(&place, &standing);
    (0..4).for_each(|client| live.await_fault(client, 2));
    for number in [1, 3, 0, 2] {
        let client = live.client(number);
        live.allow_fault(number, 2);
        client.signal(Signal::SIGKILL);
        client.await_end();
        // The last one ends the round, and with it the run.
        if number != 2 {
            eventually("a fresh process", || {
                let fresh = live.clients().into_iter().find(|fresh| fresh.number() == number)?;
                (fresh.pid != client.pid).then_some(())
            });
            let zombies: Vec<_> = children(live.pid()).into_iter().filter(|(_, state)| *state == 'Z').collect();
            assert!(zombies.is_empty(), "{zombies:?}");
        }
    }
    let run = live.run.clone();
    let (status, errors) = live.end();
    assert!(status.success(), "{errors}");
    let lost = run.ledger("lost");
    assert_eq!(lost.iter().map(|line| line["client"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3, 0, 2]);
    for line in lost {
        assert_eq!((&line["cause"], &line["then"]), (&json!({"kind": "signal", "number": 9}), &json!("retried")));
    }
    assert_eq!(run.summary()["failures"], json!(4));
    assert_eq!(run.weights_sha256(), undisturbed());
    assert!(errors.contains("client 1 was lost in round 2: killed by SIGKILL after "), "{errors}");
}

#[test]
fn an_idle_client_that_is_killed_costs_nothing() {
    let place = Place::new();
    // One works, three wait.
    let mut live = Live::start(&place, &format!("{} --jobs 1", faulty("sleep", true)));
    live.await_fault(1, 2);
    let idle = live.client(0);
    idle.signal(Signal::SIGKILL);
    idle.await_end();
    let run = live.run.clone();
    eventually("a lost line", || (!run.ledger("lost").is_empty()).then_some(()));
    live.allow_fault(1, 2);
    live.client(1).signal(Signal::SIGKILL);
    let (status, errors) = live.end();
    assert!(status.success(), "{errors}");
    let line = &run.ledger("lost")[0];
    assert_eq!((&line["process"], &line["client"], &line["then"]), (&json!(0), &json!(null), &json!("replaced")));
    assert_eq!((&run.summary()["failures"], run.weights_sha256()), (&json!(2), undisturbed()));
}

#[test]
fn a_client_that_never_answers_is_lost_at_its_deadline() {
    // The deadline is for loading, too: it must be more than a loaded machine takes for that.
    let places = ["sleep", "spin", "print"].map(|fault| (fault, Place::new()));
    let start = |(fault, place)| {
        (fault, Live::start(place, &format!("{} --client-timeout 4 --on-failure drop", faulty(fault, false))))
    };
    let runs = places.each_ref().map(|(fault, place)| start((*fault, place))).map(|(fault, live)| {
        let run = live.run.clone();
        (fault, run, live.end())
    });
    check_all(runs, |(_, run, (status, errors))| {
        let cause = if status.success() { cause(run, "dropped")? } else { return Err(errors.clone()) };
        if cause != json!({"kind": "deadline", "seconds": 4.0}) {
            return Err(cause.to_string());
        }
        let logged = run.logs().len();
        (logged < (1 << 20) + 200).then_some(()).ok_or(format!("{logged} bytes of log"))
    });
}

#[test]
fn under_drop_the_round_goes_on_without_the_client_and_later_rounds_are_whole() {
    let place = Place::new();
    let run = place.run(&format!("{} --on-failure drop", faulty("segfault", false)));
    assert_eq!(cause(&run, "dropped"), Ok(json!({"kind": "signal", "number": 11})));
    let rounds = run.ledger("round");
    let clients: Vec<_> = rounds.iter().map(|round| (round["clients"].clone(), round["failed"].clone())).collect();
    assert_eq!(clients, [(json!(4), json!(0)), (json!(3), json!(1)), (json!(4), json!(0))]);
    assert_eq!(rounds[1]["participants"], json!([0, 2, 3]));
    assert_eq!(run.summary()["clients_dropped"], json!(true));
    assert_ne!(run.weights_sha256(), undisturbed());
}

#[test]
fn a_client_that_is_lost_twice_is_dropped() {
    let place = Place::new();
    let run = place.run(&faulty("exit-3", false));
    let then: Vec<_> = run.ledger("lost").iter().map(|line| line["then"].clone()).collect();
    assert_eq!(then, [json!("retried"), json!("dropped")]);
    assert_eq!((&run.summary()["failures"], &run.ledger("round")[1]["failed"]), (&json!(2), &json!(1)));
}

#[test]
fn a_run_ends_on_a_loss_under_abort_and_below_the_quorum() {
    for (policy, says) in [("--on-failure abort", "client 1 was lost in round 2"), ("--min-clients 4", "(quorum 4)")] {
        let place = Place::new();
        let (output, run) = place.try_run(&format!("{} {policy}", faulty("error", false)));
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(6), "{policy}: {errors}");
        let last = errors.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains(says), "{policy}: {last}");
        // What the last whole round left.
        assert_eq!((&run.summary()["rounds"], run.ledger("round").len()), (&json!(1), 1));
        assert_eq!(run.summary()["weights_sha256"], run.ledger("round")[0]["weights_sha256"]);
    }
}

#[test]
fn a_lost_evaluator_costs_nothing() {
    let place = Place::new();
    let arguments = format!("{RUN} --model-option fault=segfault --model-option at=evaluate --model-option once=marks");
    let mut live = Live::start(&place, &arguments);
    live.await_fault(0, 1);
    // A fresh process has trained nobody.
    File::create(place.path("marks/start")).unwrap();
    (1..=3).for_each(|round| live.allow_fault(0, round));
    let run = live.run.clone();
    let (status, errors) = live.end();
    assert!(status.success(), "{errors}");
    let lost = run.ledger("lost");
    assert_eq!(lost.len(), 1, "{lost:?}");
    let expected = (&json!({"kind": "signal", "number": 11}), &json!(null), &json!("retried"));
    assert_eq!((&lost[0]["cause"], &lost[0]["client"], &lost[0]["then"]), expected);
    assert_eq!(run.weights_sha256(), undisturbed());
}
