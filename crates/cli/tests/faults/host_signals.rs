//! Signals to the host.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    Fault,
    common::{Place, sha256},
    live::Client,
    stage::{Ended, Stage, resume},
    table::Row,
};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        ("kill-host", Box::new(kill)),
        ("sigterm-host", Box::new(|| stop(Signal::SIGTERM, 143))),
        ("sigint-host", Box::new(|| stop(Signal::SIGINT, 130))),
        ("sighup-host", Box::new(|| stop(Signal::SIGHUP, 129))),
        ("sigint-host-twice", Box::new(stop_twice)),
    ]
}

/// Sends signals to a host whose clients wait in round 2, and waits until all processes have ended.
fn signalled(place: &Place, signals: &[Signal]) -> (Ended, Duration) {
    let stage = Stage::held_in_two(place, "");
    let clients = stage.live.clients();
    assert_eq!(clients.len(), 4);
    let start = Instant::now();
    signals.iter().for_each(|&signal| stage.live.signal(signal));
    clients.iter().for_each(Client::await_end);
    let took = start.elapsed();
    // The resumed run must not wait.
    (1..=3).for_each(|round| stage.live.mark(&format!("round-{round}")));
    (stage.end(), took)
}

fn kill() -> Row {
    let place = Place::new();
    let (ended, took) = signalled(&place, &[Signal::SIGKILL]);
    assert!(!ended.run.0.join("summary.json").exists());
    resume(&place, &ended.run);
    let happened = "its clients end with it; --resume continues".into();
    Row { happened, detected: Some(took), cost: "the round, until the resume".into() }
}

fn stop(signal: Signal, code: i32) -> Row {
    let place = Place::new();
    let (Ended { run, status, errors }, took) = signalled(&place, &[signal]);
    // The goal is one second; this limit is for a slow machine.
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    assert_eq!(status.code(), Some(code), "{errors}");
    let summary = run.summary();
    assert_eq!(summary["stopped"], json!({"signal": signal as i32}));
    assert_eq!((&summary["rounds"], &summary["failures"]), (&json!(1), &json!(0)));
    assert_eq!(summary["weights_sha256"], run.ledger("round")[0]["weights_sha256"]);
    let file = run.read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let bytes = ["low", "high"].map(|name| tensors.tensor(name).unwrap().data()).concat();
    assert_eq!(sha256(&bytes), run.weights_sha256());
    assert!(run.read("result.png").starts_with(b"\x89PNG"));
    resume(&place, &run);
    let happened = format!("the results of round 1, exit code {code}; --resume continues");
    Row { happened, detected: Some(took), cost: "the round, until the resume".into() }
}

/// A second signal ends the host at once. Whichever signal ends the host, the run can be resumed.
fn stop_twice() -> Row {
    let place = Place::new();
    let (ended, took) = signalled(&place, &[Signal::SIGINT, Signal::SIGINT]);
    assert_eq!(ended.status.code(), Some(130), "{}", ended.errors);
    resume(&place, &ended.run);
    let happened = "exit code 130 at once; --resume continues".into();
    Row { happened, detected: Some(took), cost: "the round, until the resume".into() }
}
