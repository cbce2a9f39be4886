//! The scores of clients, of classes and of a target: the same for any number of processes, across a resume, and in a
//! verification.

use std::fs;

use serde_json::Value;

use crate::{
    common::{Place, Run, stderr, stdout},
    verify::{edit, rechain},
};

/// Returns the scores of the rounds and the end of a run.
fn scores(run: &Run) -> Vec<Value> {
    let summary = run.summary();
    let of_rounds = run.ledger("round").into_iter().map(|line| {
        Value::from(vec![line["held_out"].clone(), line["new_clients"].clone(), line["weights_sha256"].clone()])
    });
    of_rounds.chain(["held_out", "new_clients", "by_class"].map(|name| summary[name].clone())).collect()
}

#[test]
fn scores_are_the_same_for_any_processes_across_a_resume_and_in_a_verification() {
    let place = Place::new();
    let run = "mlp --clients 6 --partition dirichlet:0.5 --fraction 0.6 --holdout 0.2 --holdout-clients 0.2 \
               --evaluate-clients 3 --by-class";
    let whole = place.run(&format!("{run} --rounds 3 --processes 1 --out whole"));
    let many = place.run(&format!("{run} --rounds 3 --processes 4 --jobs 3 --out many"));
    assert_eq!(scores(&whole), scores(&many));
    place.run(&format!("{run} --rounds 2 --out parts"));
    let resumed = place.fedpipe("run --resume parts --rounds 3 --processes 2").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(scores(&Run(place.path("parts"))), scores(&whole));
    for out in ["whole", "parts"] {
        let verified = stdout(&place.fedpipe(&format!("verify {out}")).output().unwrap());
        assert!(verified.ends_with("verified: 3 rounds have the same bits\n"), "{verified}");
    }
}

/// The held-out examples, the training examples and those of the new client are all examples there are. The new client
/// has no local steps, by which the strategy divides.
#[test]
fn every_example_is_trained_on_or_scored() {
    let place = Place::new();
    let run = place
        .run("logreg --clients 5 --rounds 1 --holdout 0.25 --holdout-clients 0.2 --strategy fednova --local-steps 5");
    let dealt = &run.ledger("dealt")[0];
    let numbers =
        |name: &str| -> Vec<u64> { dealt[name].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect() };
    let (sizes, held_out) = (numbers("sizes"), numbers("held_out"));
    assert_eq!((sizes.iter().sum::<u64>(), held_out.iter().sum::<u64>()), (4 * 300, 4 * 100 + 400));
    let round = &run.ledger("round")[0];
    let new = sizes.iter().position(|size| *size == 0).unwrap();
    assert_eq!(round["new_clients"]["clients"], serde_json::json!([new]));
    assert_eq!(round["held_out"]["clients"], round["participants"]);
    assert_eq!(round["held_out"]["examples"], serde_json::json!([100, 100, 100, 100]));
    let (bytes, plain) = (&round["bytes_sent"], place.run("logreg --clients 4 --rounds 1 --out plain"));
    assert_eq!(*bytes, plain.ledger("round")[0]["bytes_sent"], "an evaluation is no training");
    let silent = place.run("misbehaving --clients 2 --rounds 1 --by-class --out silent");
    assert!(silent.summary()["by_class"].is_null(), "the model does not predict");
}

#[test]
fn a_run_ends_at_its_target_with_its_time() {
    let place = Place::new();
    let output = place.command("mlp --holdout 0.2 --until accuracy=0.5").0.output().unwrap();
    let (said, run) = (stdout(&output), Run(place.path("out")));
    let summary = run.summary();
    assert_eq!((&summary["stopped"], &summary["target"]["on"]), (&Value::from("reached"), &Value::from("held-out")));
    let round = summary["rounds"].as_u64().unwrap();
    assert_eq!(summary["target"]["round"], round);
    let seconds: f64 = run.ledger("round").iter().map(|line| line["seconds"].as_f64().unwrap()).sum();
    assert_eq!(summary["target"]["seconds"].as_f64(), Some(seconds));
    let line = format!("accuracy=0.5 on held-out examples: reached in round {round}, after ");
    assert!(said.contains("reached accuracy=0.5 on held-out examples\n") && said.contains(&line), "{said}");
    let means: Vec<f64> =
        run.ledger("round").iter().map(|line| line["held_out"]["accuracy"]["mean"].as_f64().unwrap()).collect();
    let (last, before) = means.split_last().unwrap();
    assert!(*last >= 0.5 && before.iter().all(|mean| *mean < 0.5), "{means:?}");
    let verified = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(verified.ends_with("the same bits\n"), "{verified}");
}

#[test]
fn what_holds_out_or_scores_nothing_is_refused_with_the_bound() {
    let place = Place::new();
    for (arguments, says) in [
        ("--holdout 1", "--holdout is 1; give at least 0 and below 1"),
        ("--holdout 0.001", "the share 0.001 holds out no row of any partition, the largest of which has 500 rows"),
        ("--holdout-clients 0.1", "--holdout-clients 0.1 holds out none of 4 clients; give at least 0.25"),
        ("--holdout 0.2 --evaluate-every 9", "--evaluate-every 9 scores the clients after none of 5 rounds"),
        ("--holdout 0.2 --evaluate-clients 5", "--evaluate-clients is 5; give 1 to 4, the clients that train"),
        ("--target real --by-class", "--by-class needs classes, and --target real has none"),
        (
            "--target real --until accuracy=0.5",
            "--until accuracy needs classes, and --target real has none; give rmse, mae, r2 or loss",
        ),
        ("--until rmse=1", "--until rmse needs a real target, and this run has classes; give accuracy or loss"),
        ("--evaluate-clients 2", "--evaluate-clients has no effect on a run without --holdout"),
        ("--until accuracy=0.5 --rounds 9", "--rounds has no effect on a run with --until-converged or --until"),
        ("--until accuracy=85", "the accuracy 85 is not from 0 to 1"),
    ] {
        let (output, run) = place.try_run(&format!("mlp {arguments}"));
        let code = if arguments.ends_with("0.001") { 4 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{arguments}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
        assert!(!run.0.exists(), "{arguments}");
    }
}

/// Two blocks, which two processes score. `crates/python/reference/two_classes.py` has the rule of the rows, too.
#[test]
fn the_scores_of_two_classes_are_those_of_scikit_learn() {
    let place = Place::new();
    let row = |n: u32| {
        let (a, b, c) = (n % 7, n * n % 11, 5 * n % 13);
        format!("{a},{b},{c},{}\n", u8::from(a + b + n * n * n % 9 > 11))
    };
    for (name, rows) in [("train.csv", 0..400), ("test.csv", 400..1000)] {
        fs::write(place.path(name), "a,b,c,y\n".to_owned() + &rows.map(row).collect::<String>()).unwrap();
    }
    let run = place.run(
        "mlp --data train.csv --test-data test.csv --label y --clients 2 --rounds 10 --lr 0.02 --batch-size 100 \
         --model-option hidden=8 --processes 2 --by-class",
    );
    let known: Value = serde_json::from_str(include_str!("metrics/two_classes.json")).unwrap();
    assert_eq!(known["weights_sha256"], run.weights_sha256(), "the values are those of other weights");
    let scores = &run.summary()["by_class"];
    assert_eq!(scores["confusion"], known["confusion"]);
    for name in ["macro_f1", "auc"] {
        let [own, known] = [scores, &known].map(|of| of[name].as_f64().unwrap());
        assert!((own - known).abs() < 1e-12 && (0.5..1.0).contains(&own), "{name}: {own}, and {known} by scikit-learn");
    }
}

/// The scores by class are those of a session without a round of its own.
#[test]
fn altered_scores_by_class_are_found_in_a_session_without_rounds() {
    let place = Place::new();
    let run = place.run("mlp --clients 2 --rounds 1");
    let resumed = place.fedpipe("run --resume out --by-class --force").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let verify = || place.fedpipe("verify out").output().unwrap();
    assert!(stdout(&verify()).ends_with("verified: 1 round has the same bits\n"), "{}", stdout(&verify()));
    rechain(&run, |lines| ["by_class", "finished"].iter().for_each(|event| edit(lines, event, "macro_f1", "0.5")));
    fs::remove_file(run.0.join("summary.json")).unwrap();
    let output = verify();
    assert_eq!(output.status.code(), Some(7), "{}", stdout(&output));
    let why = "the scores by class do not follow from the predictions";
    assert!(stdout(&output).contains(why) || stderr(&output).contains(why), "{}", stderr(&output));
}
