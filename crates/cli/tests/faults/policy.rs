//! The limits of the policies.

use serde_json::json;

use crate::{
    Fault,
    common::Place,
    stage::{Stage, since},
    table::Row,
};

pub(crate) fn faults() -> Vec<Fault> {
    vec![("exit-3-twice", Box::new(twice)), ("exit-3-below-quorum", Box::new(below_quorum))]
}

/// Options of a fault that happens whenever client 1 trains in round 2.
const ALWAYS: &str = "--model-option fault=exit-3 --model-option client=1 --model-option round=2";

/// A client that crashes again after a retry is dropped from the round.
fn twice() -> Row {
    let place = Place::new();
    let mut stage = Stage::held_in_two(&place, ALWAYS);
    let start = std::time::Instant::now();
    stage.live.mark("round-2");
    let detected = since(start, stage.await_crash("client 1"));
    stage.await_whole(0);
    let ended = stage.end();
    ended.is_without_one_update();
    assert_eq!(ended.run.summary()["failures"], json!(2));
    Row { happened: "it exited with code 3".into(), detected: Some(detected), cost: "1 update of 1 round".into() }
}

fn below_quorum() -> Row {
    let place = Place::new();
    let stage = Stage::held_in_two(&place, &format!("{ALWAYS} --on-failure drop --min-clients 4"));
    let start = std::time::Instant::now();
    stage.live.mark("round-2");
    let detected = since(start, stage.await_crash("client 1"));
    let ended = stage.end();
    assert_eq!(ended.status.code(), Some(6), "{}", ended.errors);
    let last = ended.errors.lines().last().unwrap();
    let says = "error: round 2 failed: 3 of 4 clients returned an update (quorum 4): it exited with code 3";
    assert_eq!(last, says);
    // The results are those of the last completed round.
    assert_eq!((ended.rounds(), &ended.run.summary()["rounds"]), (vec![(4, 0)], &json!(1)));
    assert_eq!(ended.run.weights_sha256(), ended.run.ledger("round")[0]["weights_sha256"]);
    Row { happened: says["error: ".len()..].into(), detected: Some(detected), cost: "the run, after round 1".into() }
}
