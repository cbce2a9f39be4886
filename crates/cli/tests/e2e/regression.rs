//! Runs on a real target, through the real binary, against the values of NumPy.
//!
//! `crates/python/reference/regression.py` made the set, the least-squares solution and its errors.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::common::{Place, Run, check_all, stderr, stdout};

/// Full batches and all clients make each round one step of gradient descent over all examples.
const DESCENT: &str = "linreg --data real --target real --lr 0.3 --batch-size 160 --epochs 1";

fn set() -> Value {
    serde_json::from_str(include_str!("regression/set.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Returns an IDX file of f32.
fn file(sizes: &[u32], values: &Value) -> Vec<u8> {
    let sizes = [0, 0, 13, sizes.len() as u8].into_iter().chain(sizes.iter().flat_map(|size| size.to_be_bytes()));
    sizes.chain(numbers(values).into_iter().flat_map(|value| (value as f32).to_be_bytes())).collect()
}

/// Writes the set as IDX files into the folder `real` of a place.
pub(crate) fn placed() -> Place {
    let (place, set) = (Place::new(), set());
    fs::create_dir(place.path("real")).unwrap();
    for (split, name, n) in [("train", "train", 160), ("test", "t10k", 60)] {
        let write = |file_name: String, contents| fs::write(place.path("real").join(file_name), contents).unwrap();
        write(format!("{name}-images-idx2-float"), file(&[n, 3], &set[format!("{split}_inputs")]));
        write(format!("{name}-labels-idx1-float"), file(&[n], &set[format!("{split}_targets")]));
    }
    place
}

/// Returns the final weights, flat.
fn weights(run: &Run) -> Vec<f32> {
    let file = run.read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let data = ["dense1.weight", "dense1.bias"].map(|name| tensors.tensor(name).unwrap().data());
    data.concat().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[track_caller]
fn assert_near(what: &str, got: &Value, expected: &Value, tolerance: f64) {
    let (got, expected) = (got.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((got - expected).abs() < tolerance, "{what}: {got}, and {expected} by NumPy");
}

#[test]
fn gradient_descent_of_one_and_of_four_clients_reaches_the_least_squares_solution() {
    let (place, set) = (placed(), set());
    for clients in [1, 4] {
        let run = place.run(&format!("{DESCENT} --clients {clients} --rounds 60 --out {clients}"));
        for (i, (got, expected)) in weights(&run).iter().zip(numbers(&set["solution"])).enumerate() {
            assert!((f64::from(*got) - expected).abs() < 2e-6, "{clients} clients, weight {i}: {got} for {expected}");
        }
        let summary = run.summary();
        for key in ["rmse", "mae", "r2"] {
            assert_near(key, &summary[key], &set["test_errors"][key], 2e-6);
        }
        assert_eq!((&summary["loss_fell"], summary.get("accuracy")), (&Value::Bool(true), None));
        let squares = summary["rmse"].as_f64().unwrap() * summary["rmse"].as_f64().unwrap();
        assert!((summary["loss"].as_f64().unwrap() - squares).abs() < 1e-12, "the loss is the squared error");
        let initial = &run.ledger("initial_score")[0];
        for key in ["rmse", "mae", "r2"] {
            assert_near(key, &initial[key], &set["initial_errors"][key], 1e-12);
        }
        assert_eq!((initial.get("accuracy"), &summary["initial_rmse"]), (None, &initial["rmse"]));
    }
}

/// A network beats the line, since the target has a square in it. Blocks, processes and arrival change no bit.
#[test]
fn a_network_learns_a_real_target_with_the_same_bits_for_any_number_of_processes() {
    let (place, set) = (placed(), set());
    let run = |processes| {
        let arguments = "mlp --data real --target real --clients 4 --rounds 40 --lr 0.02 --batch-size 8";
        place.run(&format!("{arguments} --model-option hidden=16 --processes {processes} --out {processes}"))
    };
    let (one, four) = (run(1), run(4));
    assert_eq!(one.weights_sha256(), four.weights_sha256());
    let lines = |run: &Run| {
        let mut lines = run.ledger("round");
        lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("seconds")));
        lines.into_iter().map(|line| ["rmse", "mae", "r2", "loss"].map(|key| line[key].clone())).collect::<Vec<_>>()
    };
    assert_eq!(lines(&one), lines(&four));
    let (r2, line) = (one.summary()["r2"].as_f64().unwrap(), set["test_errors"]["r2"].as_f64().unwrap());
    assert!(r2 > line + 0.02, "{r2}, and {line} of the least-squares solution");
}

#[test]
fn the_screen_and_the_ledger_have_the_errors_in_place_of_the_accuracy() {
    let place = placed();
    let (output, run) = place.try_run(&format!("{DESCENT} --clients 4 --rounds 2"));
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let line = text.lines().find(|line| line.starts_with("round 2/2")).unwrap();
    let in_order = ["loss ", "RMSE ", "MAE ", "R² "].map(|name| line.find(name).unwrap());
    assert!(in_order.is_sorted() && !text.contains("accuracy"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("RMSE ") && line.contains("(4 clients, 2 rounds")), "{text}");
    let round = &run.ledger("round")[1];
    assert!(round.get("accuracy").is_none() && round["r2"].is_f64(), "{round}");
    assert!(run.read("result.png").starts_with(b"\x89PNG"));
}

/// The errors of a client follow from its sums.
#[test]
fn a_run_ends_at_an_error_on_held_out_examples_of_which_the_worst_client_has_the_greatest() {
    let place = placed();
    let run = place.run(&format!("{DESCENT} --clients 4 --holdout 0.25 --until rmse=1"));
    let summary = run.summary();
    let rounds = run.ledger("round");
    let means: Vec<f64> = rounds.iter().map(|line| line["held_out"]["rmse"]["mean"].as_f64().unwrap()).collect();
    let (last, before) = means.split_last().unwrap();
    assert!(*last <= 1.0 && !before.is_empty() && before.iter().all(|mean| *mean > 1.0), "{means:?}");
    assert_eq!((&summary["target"]["round"], &summary["stopped"]), (&json!(means.len()), &json!("reached")));
    let scores = &summary["held_out"];
    let rmse = |sums: &Value| (sums["squared_error"].as_f64().unwrap() / 10.0).sqrt();
    let rmses: Vec<f64> = scores["error_sums"].as_array().unwrap().iter().map(rmse).collect();
    assert_eq!((&scores["examples"], rmses.len()), (&json!([10, 10, 10, 10]), 4));
    let greatest = rmses.iter().fold(0.0, |greatest, rmse| if *rmse > greatest { *rmse } else { greatest });
    assert_eq!(scores["rmse"]["worst"].as_f64(), Some(greatest));
    let squares: f64 = rmses.iter().map(|rmse| rmse * rmse).sum();
    assert!((last * last - squares / 4.0).abs() < 1e-12 && scores["errors"]["rmse"] == *last, "{scores}");
    let verified = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(verified.ends_with("the same bits\n"), "{verified}");
}

#[test]
fn a_run_on_a_real_target_resumes_and_verifies() {
    let place = placed();
    let whole = place.run(&format!("{DESCENT} --clients 4 --rounds 4 --out whole"));
    place.run(&format!("{DESCENT} --clients 4 --rounds 2 --out out"));
    let resumed = place.fedpipe("run --resume out --rounds 4").output().unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let run = Run(place.path("out"));
    assert_eq!(run.weights_sha256(), whole.weights_sha256());
    assert_eq!(run.summary()["r2"], whole.summary()["r2"]);
    let verified = place.fedpipe("verify out").output().unwrap();
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
    // An altered error is found, since the chain of the ledger has it.
    let ledger = place.path("out/ledger.jsonl");
    let text = fs::read_to_string(&ledger).unwrap();
    fs::write(&ledger, text.replacen("\"rmse\":", "\"rmse\":1", 1)).unwrap();
    assert!(!place.fedpipe("verify out").output().unwrap().status.success());
}

#[test]
fn the_other_kind_of_model_is_refused_with_the_remedy() {
    let place = placed();
    let cases = [
        (
            "logreg --data real --target real",
            "the model logreg predicts classes, but the targets of the data are real numbers; take a \
             model of regression, such as linreg or mlp",
        ),
        (
            "linreg --data sample",
            "the model linreg predicts real numbers, but the targets of the data are 10 classes; take \
             a model of classification, such as logreg",
        ),
    ];
    check_all(cases, |(arguments, remedy)| {
        let (output, run) = place.try_run(&format!("{arguments} --rounds 1"));
        let error = stderr(&output);
        let is_refused = output.status.code() == Some(3) && error.contains(remedy) && !run.0.join("model").exists();
        if is_refused { Ok(()) } else { Err(format!("{}: {error}", output.status)) }
    });
}

/// Every client has the mean of the targets at first, so that no round beats the guess.
#[test]
fn a_run_that_never_beats_the_mean_is_warned_about() {
    let place = placed();
    let (output, run) = place.try_run("linreg --data real --target real --lr 1e-9 --rounds 1");
    assert!(output.status.success() && Path::new(&run.0).exists());
    assert!(stderr(&output).contains("no round was better than a guess of the mean target"), "{}", stderr(&output));
    assert_eq!(run.summary()["loss_fell"], false);
}
