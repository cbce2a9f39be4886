//! `--until-converged`: a run ends where the loss of its received weights no longer falls. The table in the README of
//! `strategy` has more settings.

use crate::{
    common::{Place, Run, stdout},
    idx,
};

/// Returns a run until convergence with its number of rounds and its end.
fn converged(place: &Place, arguments: &str) -> (Run, u64, String) {
    let run = place.run(&format!("{arguments} --until-converged"));
    let summary = run.summary();
    (run, summary["rounds"].as_u64().unwrap(), summary["stopped"].as_str().unwrap().to_owned())
}

#[test]
fn slow_training_is_not_taken_for_its_end() {
    let place = Place::new();
    for (rate, out) in [("0.0001", "slow"), ("0.00001", "slower")] {
        let (_, rounds, end) = converged(&place, &format!("mlp --lr {rate} --max-rounds 30 --out {out}"));
        assert_eq!((rounds, end.as_str()), (30, "max-rounds"), "--lr {rate}");
    }
}

#[test]
fn a_run_with_sampled_clients_stops_and_is_verified() {
    let place = Place::new();
    let (run, rounds, end) = converged(&place, "logreg --clients 10 --fraction 0.3 --max-rounds 200");
    assert!(end == "converged" && rounds > 10, "{end} after {rounds}");
    assert!(run.ledger("round").iter().all(|line| line["start_loss"].is_f64()));
    let verified = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(verified.ends_with(&format!("verified: {rounds} rounds have the same bits\n")), "{verified}");
}

/// One step takes the fixture `personal` to the loss 0. The fall from one window to the next is then 0, too.
#[test]
fn a_loss_that_reaches_zero_stops() {
    let place = Place::new();
    idx::write_rows(&place.path("rows"), &[[4, 0], [4, 0]]);
    let (run, rounds, end) = converged(&place, "personal --data ./rows --clients 1 --batch-size 8 --lr 0.5");
    assert_eq!((rounds, end.as_str()), (13, "converged"));
    assert_eq!(run.ledger("round")[1]["start_loss"], 0.0);
}
