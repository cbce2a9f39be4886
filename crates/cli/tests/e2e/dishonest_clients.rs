//! Runs with dishonest clients, robust rules and drawn local work: the same bits with fewer processes, across sessions
//! and in a verification.

use serde_json::{Value, json};

use crate::common::{Place, Run, check_all, stderr, stdout};

const BASE: &str = "logreg --data sample --clients 10";

fn run(place: &Place, out: &str, arguments: &str) -> Run {
    place.run(&format!("{BASE} --rounds 3 --out {out} {arguments}"))
}

/// Returns the hashes of the weights and of the server's state, by round.
fn hashes(run: &Run) -> Vec<[Value; 2]> {
    let hashes = |line: &Value| ["weights_sha256", "server_sha256"].map(|field| line[field].clone());
    run.ledger("round").iter().map(hashes).collect()
}

#[test]
fn each_rule_has_the_same_bits_across_processes_and_sessions_and_is_verified() {
    let place = Place::new();
    let cases = [
        "--attack alie:fraction=0.3 --aggregate nnm+trimmed-mean:f=3 --min-clients 7",
        "--attack sign-flip:0.2 --aggregate centred-clipping:median --min-clients 8",
        "--attack label-flip:0.2 --aggregate bucketing:2+median",
        "--attack nan:0.2 --aggregate krum:2 --min-clients 7",
        "--attack gaussian:0.2 --aggregate geometric-median --strategy fedyogi:bias-correction=true,v0=0",
        "--strategy fedexp --sample poisson:0.4 --epochs 3 --uneven uniform",
        "--sample by-size:true --weighting equal --fraction 0.5 --epochs 2 --uneven stragglers:0.5",
        "--strategy scaffold:option=I --sample cyclic --fraction 0.3",
    ];
    check_all(cases.iter().enumerate(), |(index, arguments)| {
        let expected = hashes(&run(&place, &format!("whole-{index}"), arguments));
        let few = run(&place, &format!("few-{index}"), &format!("{arguments} --processes 3 --jobs 1"));
        if hashes(&few) != expected {
            return Err(format!("{:?} with three processes, expected {expected:?}", hashes(&few)));
        }
        let out = format!("sessions-{index}");
        let first = place.run(&format!("{BASE} {arguments} --rounds 1 --out {out}"));
        let resumed = place.fedpipe(&format!("run --resume {out} --rounds 3")).output().unwrap();
        if !resumed.status.success() || hashes(&first) != expected {
            return Err(format!("{:?} in two sessions, expected {expected:?}: {}", hashes(&first), stderr(&resumed)));
        }
        let verified = place.fedpipe(&format!("verify whole-{index}")).output().unwrap();
        let says = "verified: 3 rounds have the same bits\n";
        if stdout(&verified).ends_with(says) { Ok(()) } else { Err(stderr(&verified)) }
    });
}

#[test]
fn the_ledger_names_the_clients_that_attack_and_counts_rejected_ones_as_absent() {
    let place = Place::new();
    let lines = run(&place, "nan", "--attack nan:0.2").ledger("round");
    let attackers = lines[0]["attackers"].clone();
    assert_eq!(attackers.as_array().map(Vec::len), Some(2));
    for line in &lines {
        assert_eq!((&line["attackers"], &line["clients"], &line["failed"]), (&attackers, &json!(8), &json!(2)));
        let participants = line["participants"].as_array().unwrap();
        assert!(attackers.as_array().unwrap().iter().all(|client| !participants.contains(client)), "{line}");
    }
    let honest = hashes(&run(&place, "honest", ""));
    assert_eq!(hashes(&run(&place, "none", "--attack sign-flip:0")), honest, "a share of 0 is no attack");
}

/// A fifth of the clients sends a great change: the mean follows it, and robust rules do not.
#[test]
fn robust_rules_withstand_what_the_mean_does_not() {
    let place = Place::new();
    let loss = |out: &str, arguments: &str| run(&place, out, arguments).summary()["loss"].as_f64().unwrap();
    let honest = loss("honest", "--weighting equal");
    let attack = "--attack sign-flip:fraction=0.2,scale=10 --min-clients 8";
    let mean = loss("mean", &format!("{attack} --weighting equal"));
    assert!(mean > 1.3 * honest, "{mean}, without the attack {honest}");
    for rule in
        ["median", "trimmed-mean:f=2", "krum:2", "multi-krum:2", "nnm+trimmed-mean:f=2", "centred-clipping:median"]
    {
        let robust = loss(&rule.replace([':', '+', '='], "-"), &format!("{attack} --aggregate {rule}"));
        assert!(robust < 0.5 * (mean + honest), "{rule}: {robust}, the mean {mean}, without the attack {honest}");
    }
}
