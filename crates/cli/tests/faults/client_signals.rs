//! Signals to a client process, in each state of the process.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    Fault,
    cases::case,
    common::{Place, dylib},
    live::Live,
    stage::{RUN, Stage, TIMEOUT, await_nobody, since, undisturbed},
    table::Row,
};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        ("kill-before-hello", Box::new(|| before_hello(Signal::SIGKILL, ""))),
        ("kill-idle", Box::new(kill_idle)),
        case("kill-training").fault("sleep").act(kill_training).signal(Signal::SIGKILL).boxed(),
        case("kill-writing").fault("half-frame-and-sleep").act(kill_writing).signal(Signal::SIGKILL).boxed(),
        ("kill-all-training", Box::new(kill_all)),
        ("stop-before-hello", Box::new(|| before_hello(Signal::SIGSTOP, TIMEOUT))),
        ("stop-idle", Box::new(|| stop_idle(""))),
        ("stop-reading", Box::new(|| stop_idle(LARGE))),
        case("stop-training").fault("sleep").act(stop_training).late().boxed(),
        case("stop-writing").fault("half-frame-and-sleep").act(stop_writing).late().boxed(),
    ]
}

/// The option that makes the weights larger than the buffer of a pipe: 4 MB.
const LARGE: &str = "--model-option padding=1000000";

fn kill_training(live: &mut Live<'_>, _: (u32, u64)) -> Instant {
    signal_training(live, Signal::SIGKILL)
}

fn stop_training(live: &mut Live<'_>, _: (u32, u64)) -> Instant {
    signal_training(live, Signal::SIGSTOP)
}

fn kill_writing(live: &mut Live<'_>, _: (u32, u64)) -> Instant {
    signal_writing(live, Signal::SIGKILL)
}

fn stop_writing(live: &mut Live<'_>, _: (u32, u64)) -> Instant {
    signal_writing(live, Signal::SIGSTOP)
}

fn signal_training(live: &mut Live<'_>, signal: Signal) -> Instant {
    let client = live.client(1);
    // The fresh process must not wait.
    live.allow_fault(1, 2);
    let now = Instant::now();
    client.signal(signal);
    now
}

fn signal_writing(live: &mut Live<'_>, signal: Signal) -> Instant {
    let client = live.client(1);
    live.allow_fault(1, 2);
    live.await_log("half of the update is written\n");
    let now = Instant::now();
    client.signal(signal);
    now
}

/// Returns the fields of a crash as the ledger has them.
fn crash(round: Value, process: u32, cause: &Value, then: &str) -> [Value; 5] {
    [round, Value::Null, json!(process), cause.clone(), json!(then)]
}

fn said(line: &Value) -> [Value; 5] {
    ["round", "client", "process", "cause", "then"].map(|field| line[field].clone())
}

fn cause_of(signal: Signal) -> Value {
    match signal {
        Signal::SIGSTOP => json!({"kind": "deadline", "seconds": 4.0}),
        signal => json!({"kind": "signal", "number": signal as i32}),
    }
}

/// Signals the first process, which is asked for the initial weights, and another one.
fn before_hello(signal: Signal, more: &str) -> Row {
    let place = Place::new();
    let (mut command, run) = place.command(&format!("{RUN} {more}"));
    command.env("LD_PRELOAD", dylib("misbehaving"));
    let mut live = Live::of(&place, command, run.clone());
    (0..4).for_each(|process| live.await_log(&format!("before hello in process {process}\n")));
    let clients = [live.client(0), live.client(2)];
    let mut detected = Duration::ZERO;
    for client in &clients {
        let start = Instant::now();
        client.signal(signal);
        // A stopped client is detected at its deadline, for which the other clients must continue first.
        if signal == Signal::SIGKILL {
            detected = detected.max(await_crash(&live, client.number(), start));
        }
    }
    live.mark("hello");
    if signal == Signal::SIGSTOP {
        let start = Instant::now();
        clients.iter().for_each(|client| detected = detected.max(await_crash(&live, client.number(), start)));
    }
    let (status, errors) = live.end();
    await_nobody(&place);
    assert!(status.success(), "{errors}");
    let mut seen: Vec<_> = run.ledger("client_crashed").iter().map(said).collect();
    seen.sort_by_key(|line| line[2].as_u64());
    let cause = cause_of(signal);
    let expected = |second| [crash(json!(null), 0, &cause, "retried"), second];
    // On a busy machine the second process may start so late that the first round has begun when its deadline passes.
    let in_round_1 = expected([json!(1), json!(2), json!(2), cause.clone(), json!("retried")]);
    if signal != Signal::SIGSTOP || seen != in_round_1 {
        assert_eq!(seen, expected(crash(json!(null), 2, &cause, "replaced")));
    }
    assert_eq!(run.weights_sha256(), undisturbed(""));
    Row { happened: happened(signal), detected: Some(detected), cost: "nothing".into() }
}

fn await_crash(live: &Live<'_>, process: u32, start: Instant) -> Duration {
    // The host names the client if a round that needs its work had begun.
    let who = ["process ", ""].map(|what| format!("client {what}{process} crashed "));
    since(start, live.await_said(&who[0], |line| who.iter().any(|who| line.contains(who))))
}

fn happened(signal: Signal) -> String {
    match signal {
        Signal::SIGSTOP => "it gave no answer within 4 s".into(),
        signal => format!("killed by {signal}"),
    }
}

fn kill_idle() -> Row {
    let place = Place::new();
    let mut stage = Stage::one_at_work(&place, "");
    let start = Instant::now();
    stage.live.client(2).signal(Signal::SIGKILL);
    let detected = since(start, stage.await_crash("client process 2"));
    (1..=2).for_each(|round| stage.live.mark(&format!("round-{round}")));
    stage.await_whole_where(1, 0);
    let ended = stage.end();
    ended.is_whole(1, "");
    assert_eq!(said(&ended.crashes()[0]), crash(json!(1), 2, &cause_of(Signal::SIGKILL), "replaced"));
    Row { happened: happened(Signal::SIGKILL), detected: Some(detected), cost: "nothing".into() }
}

/// The fault is detected when the client has work: the client reads nothing, or never answers.
fn stop_idle(more: &'static str) -> Row {
    let place = Place::new();
    let mut stage = Stage::one_at_work(&place, &format!("{TIMEOUT} {more}"));
    let start = Instant::now();
    stage.live.client(2).signal(Signal::SIGSTOP);
    (1..=2).for_each(|round| stage.live.mark(&format!("round-{round}")));
    let detected = since(start, stage.await_crash("client 2"));
    stage.await_whole_where(1, 0);
    let ended = stage.end();
    ended.is_whole(1, more);
    let line = &ended.crashes()[0];
    assert_eq!((&line["client"], &line["then"]), (&json!(2), &json!("retried")), "{line}");
    assert_eq!(line["cause"], cause_of(Signal::SIGSTOP));
    Row { happened: happened(Signal::SIGSTOP), detected: Some(detected), cost: "nothing".into() }
}

/// Kills each client of a round, one after the other.
fn kill_all() -> Row {
    let place = Place::new();
    let mut stage = Stage::held(&place, "--model-option fault=sleep --model-option round=2 --model-option once=marks");
    (0..4).for_each(|client| stage.live.await_fault(client, 2));
    let mut detected = Duration::ZERO;
    for number in [1, 3, 0, 2] {
        let client = stage.live.client(number);
        stage.live.allow_fault(number, 2);
        let start = Instant::now();
        client.signal(Signal::SIGKILL);
        detected = detected.max(since(start, stage.await_crash(&format!("client {number}"))));
    }
    stage.await_whole(0);
    let ended = stage.end();
    ended.is_whole(4, "");
    let seen: Vec<_> = ended.crashes().iter().map(|line| line["client"].as_u64().unwrap()).collect();
    assert_eq!(seen, [1, 3, 0, 2]);
    Row { happened: happened(Signal::SIGKILL), detected: Some(detected), cost: "nothing".into() }
}
