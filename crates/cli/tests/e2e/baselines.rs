//! The baselines of an experiment: clients that train alone, and one client with all rows, at the same budget.

use std::fs;

use serde_json::Value;

use crate::common::{Place, Run, stderr, stdout};

/// Returns a run of `logreg` on the sample with four clients.
fn run(place: &Place, out: &str, arguments: &str) -> Run {
    place.run(&format!("logreg --data sample --clients 4 --partition labels:3 --rounds 2 --out {out} {arguments}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// One client that has everything trains alone as it does in a federation. Four processes and one give the same bits.
#[test]
fn a_client_alone_has_the_bits_of_a_federation_of_one_and_survives_pooling_and_resume() {
    let place = Place::new();
    let one = |out: &str, strategy: &str| {
        place.run(&format!("logreg --data sample --clients 1 --rounds 3 --strategy {strategy} --out {out}"))
    };
    let (federated, alone) = (one("federated", "fedavg"), one("alone", "local"));
    let scores = |run: &Run| {
        run.ledger("round")
            .iter()
            .map(|line| (line["loss"].to_string(), line["accuracy"].to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(scores(&alone), scores(&federated));
    assert!(
        alone
            .ledger("round")
            .iter()
            .all(|line| (&line["bytes_sent"], &line["bytes_received"]) == (&0.into(), &0.into()))
    );

    let states =
        |run: &Run| run.ledger("round").iter().map(|line| line["clients_sha256"].to_string()).collect::<Vec<_>>();
    let all = run(&place, "all", "--strategy local --holdout 0.2");
    let pooled = run(&place, "pooled", "--strategy local --holdout 0.2 --processes 1");
    assert_eq!((states(&all), scores(&all)), (states(&pooled), scores(&pooled)));
    let lines = all.ledger("round");
    assert!(lines[1]["held_out"]["accuracy"]["mean"].as_f64() > lines[1]["accuracy"].as_f64(), "{}", lines[1]);
    let verified = place.fedpipe("verify all").output().unwrap();
    assert!(verified.status.success(), "{}", stderr(&verified));
    let refused = place.fedpipe("evaluate all").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("trained alone, so that it has no global weights"), "{}", stderr(&refused));
}

/// The name on the command line and the baseline of an experiment are the same run.
#[test]
fn baselines_are_one_table_with_a_picture_and_continue() {
    let place = Place::new();
    let text = "format = 2\nmodel = 'logreg'\nrounds = 2\ndata.source = 'sample'\nclients.count = 4\n\
                clients.fraction = 0.5\ndata.partition = 'labels:3'\nstrategy.sample = 'cyclic'\n";
    fs::write(place.path("e.toml"), text).unwrap();
    let printed = |arguments: &str| {
        let output = place.fedpipe(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", stderr(&output));
        stdout(&output)
    };
    let table = printed("baselines e.toml --seeds 0..1 --out b");
    for line in ["   1      federated    2  ", "   2      local        2  ", "*  3      centralised  2  "] {
        assert!(table.contains(line), "{table}");
    }
    assert!(
        table.contains("less that of group 1 with the same seeds:") && table.contains("6 runs finished"),
        "{table}"
    );
    assert!(fs::read(place.path("b/baselines.png")).unwrap().starts_with(b"\x89PNG"));
    // Half of the clients take turns, so that a round of one client is half an epoch over all rows.
    let centralised = place.run("--config e.toml --strategy centralised --seed 1 --out c");
    let of_baseline = Run(place.path("b/005"));
    assert_eq!(centralised.weights_sha256(), of_baseline.weights_sha256());
    let experiment = fs::read_to_string(place.path("b/005/experiment.toml")).unwrap();
    assert!(experiment.contains("epochs = 0.5") && experiment.contains("count = 1\n"), "{experiment}");
    let participants = |run: &str| Run(place.path(run)).ledger("round")[0]["participants"].clone();
    assert_eq!((participants("b/002"), participants("b/000")), (json("[0, 1]"), json("[0, 1]")));

    // A run that is missing is done again, and another seed adds three.
    let before = centralised.weights_sha256();
    fs::remove_dir_all(place.path("b/005")).unwrap();
    let table = printed("baselines --resume b --seeds 2");
    assert!(table.contains("9 runs, 5 of them finished") && table.contains("centralised  3  "), "{table}");
    assert_eq!(of_baseline.weights_sha256(), before);
    let refused = place.fedpipe("baselines e.toml --seeds x").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--seeds: \"x\" is refused"), "{}", stderr(&refused));
}

/// The candidates' losses decide, clients follow their trace, and both survive a resume and `verify`.
#[test]
fn losses_and_a_trace_decide_who_trains() {
    let place = Place::new();
    let chosen = run(&place, "chosen", "--fraction 0.5 --sample power-of-choice:3 --strategy scaffold --processes 1");
    let again = run(&place, "again", "--fraction 0.5 --sample power-of-choice:3 --strategy scaffold");
    assert_eq!(chosen.weights_sha256(), again.weights_sha256());
    assert!(chosen.ledger("round").iter().all(|line| line["participants"].as_array().unwrap().len() == 2));
    fs::write(place.path("a.csv"), "client,first,last\n0,1,1\n1,1,1\n2,1,1\n3,1,1\n").unwrap();
    let traced = run(&place, "traced", "--availability a.csv --strategy fedavgm");
    fs::remove_file(place.path("a.csv")).unwrap();
    let lines = traced.ledger("round");
    assert_eq!((&lines[1]["clients"], lines[1].get("training_loss")), (&0.into(), None));
    assert_eq!(lines[0]["weights_sha256"], lines[1]["weights_sha256"]);
    for run in ["chosen", "traced"] {
        let verified = place.fedpipe(&format!("verify {run}")).output().unwrap();
        assert!(verified.status.success(), "{run}: {}", stderr(&verified));
    }
}
