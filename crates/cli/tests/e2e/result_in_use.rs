//! The result of a run in use: scores, predictions, the exported file, and a run that begins with it.

use std::fs;

use serde_json::Value;

use crate::common::{Place, check_all, repository, stderr, stdout};

/// Runs a command that must succeed, and returns its output.
fn output(place: &Place, arguments: &str) -> String {
    let output = place.fedpipe(arguments).output().unwrap();
    assert!(output.status.success(), "fedpipe {arguments}: {}\n{}", output.status, stderr(&output));
    stdout(&output)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Writes the first test images of the sample as files of images, and returns their labels.
fn write_images(place: &Place, count: usize) -> Vec<u8> {
    let sample = |name: &str| {
        let file = fs::File::open(repository().join("crates/data/sample").join(name)).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut bytes).unwrap();
        bytes
    };
    let (images, labels) = (sample("t10k-images-idx3-ubyte.gz"), sample("t10k-labels-idx1-ubyte.gz"));
    for (at, pixels) in images[16..].chunks(28 * 28).take(count).enumerate() {
        let file = fs::File::create(place.path(format!("{at}.png"))).unwrap();
        let mut encoder = png::Encoder::new(file, 28, 28);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    }
    labels[8..][..count].to_vec()
}

#[test]
fn an_evaluation_repeats_the_scores_of_the_run() {
    let place = Place::new();
    let run = place.run("mlp --rounds 2 --by-class");
    let scores = json(&output(&place, "evaluate out --json"));
    let summary = run.summary();
    for key in ["accuracy", "loss", "by_class"] {
        assert_eq!(scores[key], summary[key], "{key}");
    }
    assert_eq!(scores["examples"], 500);
    let text = output(&place, "evaluate out");
    assert!(text.starts_with("mlp on the test set of sample: 500 examples\nclass  examples"), "{text}");
    let sample = json(&output(&place, "evaluate out --data sample --json"));
    assert_eq!((&sample["loss"], &sample["data"]), (&summary["loss"], &"sample".into()));
}

#[test]
fn images_are_predicted_as_the_run_scores_them() {
    let place = Place::new();
    place.run("mlp --rounds 3");
    let labels = write_images(&place, 40);
    let names: Vec<String> = (0..40).map(|at| format!("{at}.png")).collect();
    let lines = output(&place, &format!("predict out --json {}", names.join(" ")));
    let lines: Vec<Value> = lines.lines().map(json).collect();
    let examples: Vec<&str> = lines.iter().map(|line| line["example"].as_str().unwrap()).collect();
    assert_eq!(examples, names);
    let hits = lines.iter().zip(&labels).filter(|(line, label)| line["prediction"] == label.to_string()).count();
    assert!(hits >= 24, "{hits} of 40 images are recognised");
    let probabilities = lines[0]["probabilities"].as_object().unwrap();
    let sum: f64 = probabilities.values().map(|value| value.as_f64().unwrap()).sum();
    assert!(probabilities.len() == 10 && (sum - 1.0).abs() < 1e-9, "{sum}");
    let text = output(&place, "predict out 0.png 1.png --top 2");
    assert!(text.lines().count() == 2 && text.starts_with("0.png  ") && text.matches(" %").count() == 4, "{text}");
    let csv = output(&place, "predict out 0.png --csv");
    assert!(csv.starts_with("example,prediction,0,1,2,3,4,5,6,7,8,9\n0.png,"), "{csv}");
}

#[test]
fn a_table_has_the_classes_names_and_a_real_target_a_number() {
    let place = Place::new();
    let rows: String = (0..80).map(|row| format!("{},{},{}\n", row % 7, row % 2, ["dog", "cat"][row % 2])).collect();
    fs::write(place.path("t.csv"), format!("a,b,kind\n{rows}")).unwrap();
    place.run(
        "mlp --model-option hidden=8 --data t.csv --label kind --test-split 0.25 --standardise --rounds 15 --clients 2",
    );
    fs::write(place.path("new.csv"), "a,b,kind\n3,1,\n4,0,?\n").unwrap();
    assert_eq!(
        output(&place, "predict out new.csv --csv")
            .lines()
            .map(|line| line.split(',').nth(1).unwrap())
            .collect::<Vec<_>>(),
        ["prediction", "cat", "dog"]
    );
    fs::write(place.path("scored.csv"), "a,b,kind\n3,1,cat\n4,0,dog\n").unwrap();
    assert_eq!(json(&output(&place, "evaluate out --data scored.csv --json"))["accuracy"], 1.0);
    fs::write(place.path("r.csv"), "x,y\n0,1\n1,3\n2,5\n3,7\n4,9\n5,11\n").unwrap();
    place.run("mlp --model-option hidden=8 --data r.csv --label y --target real --test-split 0.34 --rounds 40 --clients 1 --lr 0.01 --out real");
    fs::write(place.path("x.csv"), "x\n2\n").unwrap();
    let line = output(&place, "predict real x.csv");
    let value: f64 = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(line.starts_with("x.csv  ") && (1.0..11.0).contains(&value), "{line}");
}

#[test]
fn an_exported_file_begins_another_run_with_the_same_bits() {
    let place = Place::new();
    let first = place.run("mlp --rounds 2");
    output(&place, "export out weights.safetensors");
    let file = fs::read(place.path("weights.safetensors")).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let facts = header.metadata().as_ref().unwrap();
    assert_eq!((facts["model"].as_str(), facts["weights_sha256"].as_str()), ("mlp", first.weights_sha256().as_str()));
    let begun = place.run("mlp --rounds 2 --init-from weights.safetensors --out begun");
    assert_eq!(begun.ledger("ready")[0]["weights_sha256"], first.weights_sha256());
    assert_eq!(begun.ledger("initial_score")[0]["loss"], first.summary()["loss"]);
    let named = begun.ledger("started")[0]["experiment"]["init-from"].as_str().unwrap().to_owned();
    assert!(named.ends_with(&format!(",sha256={}", crate::common::sha256(&file))), "{named}");
    // The run has a copy of its own, which a verification and a resume read.
    fs::remove_file(place.path("weights.safetensors")).unwrap();
    assert!(output(&place, "verify begun").ends_with("verified: 2 rounds have the same bits\n"));
    let whole = begun.weights_sha256();
    let summary = begun.0.join("summary.json");
    fs::remove_file(summary).unwrap();
    output(&place, "run --resume begun --rounds 3");
    assert_ne!(begun.weights_sha256(), whole);
    assert!(output(&place, "verify begun").ends_with("verified: 3 rounds have the same bits\n"));
}

#[test]
fn a_result_that_cannot_be_used_is_refused_with_the_remedy() {
    let place = Place::new();
    place.run("mlp --rounds 1");
    place.run("logreg --rounds 1 --out other");
    place.run("misbehaving --rounds 1 --out silent");
    output(&place, "export other w.safetensors");
    fs::write(place.path("text.safetensors"), "text").unwrap();
    write_images(&place, 1);
    fs::write(
        place.path("x.npy"),
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }            \n123",
    )
    .unwrap();
    let altered = place.run("mlp --rounds 1 --out altered");
    let mut weights = altered.read("model.safetensors");
    *weights.last_mut().unwrap() ^= 1;
    fs::write(altered.0.join("model.safetensors"), weights).unwrap();
    let cases = [
        ("evaluate .", 5, ". holds no run (no ledger.jsonl); give the directory of a run"),
        ("evaluate out --data nowhere", 4, "there is no file or directory nowhere"),
        ("evaluate altered", 5, "model.safetensors was altered: its SHA-256 is "),
        ("predict out x.npy", 4, "x.npy has examples of the shape [1], but the model was trained on [28, 28]; give"),
        ("predict out missing.png", 4, "missing.png cannot be read: "),
        ("predict silent 0.png", 3, "the model misbehaving does not predict; add the method `predict` to it"),
        ("predict out", 2, "the following required arguments were not provided: <FILE>..."),
        ("export out w.safetensors", 2, "w.safetensors exists already; give another file"),
        (
            "run mlp --data sample --out a --init-from w.safetensors",
            2,
            "w.safetensors has the tensor dense1.weight of the shape [784, 10], and the model's is [784, 128]; give",
        ),
        ("run mlp --data sample --out b --init-from text.safetensors", 2, "is no safetensors file: "),
        ("run mlp --data sample --init-from nowhere", 2, "cannot read --init-from nowhere: No such file"),
        ("run mlp --init-seed 3 --init-from w.safetensors", 2, "--init-seed has no effect on a run with --init-from"),
    ];
    check_all(cases, |&(arguments, code, expected)| {
        let output = place.fedpipe(arguments).output().unwrap();
        let text = stderr(&output);
        let is_right = output.status.code() == Some(code) && text.contains(expected) && text.lines().count() == 1;
        if is_right { Ok(()) } else { Err(format!("{}: {text}", output.status)) }
    });
    assert!(!place.path("a").exists(), "a run that never began leaves no folder");
}

/// Returns the sizes of the files that are drawn in a run directory.
fn drawn(run: &crate::common::Run) -> Vec<(&'static str, bool)> {
    let names = ["result.png", "partition.png", "report.html", "metrics.csv", "timeline.jsonl", "trace.json"];
    names.map(|name| (name, run.0.join(name).metadata().is_ok_and(|data| data.len() > 0))).to_vec()
}

#[test]
fn a_run_leaves_its_report_and_the_numbers_of_its_rounds() {
    let place = Place::new();
    let run = place.run("mlp --rounds 3 --clients 3 --holdout 0.2 --by-class --trace --tensorboard");
    assert!(drawn(&run).iter().all(|(_, there)| *there), "{:?}", drawn(&run));
    let page = String::from_utf8(run.read("report.html")).unwrap();
    for figure in
        ["accuracy", "loss", "norms", "bytes", "change", "seconds", "clients", "split", "confusion", "timeline"]
    {
        assert!(
            page.contains(&format!("data-figure=\"{figure}\"")) && page.contains(&format!("\"{figure}\":")),
            "{figure}"
        );
    }
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data = json(data);
    let spans = data["timeline"].as_array().unwrap();
    assert_eq!(
        spans.iter().map(|span| span["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["start, before round 1", "1", "2", "3"]
    );
    let lanes = spans[1]["lanes"].as_array().unwrap();
    let of_processes = lanes.iter().filter(|lane| lane["name"].as_str().unwrap().starts_with("process "));
    for lane in of_processes {
        let kinds: Vec<&str> = lane["marks"].as_array().unwrap().iter().map(|mark| mark[0].as_str().unwrap()).collect();
        assert!(["request", "epoch", "reply", "work"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    }
    let trace = json(&String::from_utf8(run.read("trace.json")).unwrap());
    assert!(trace["traceEvents"].as_array().unwrap().len() > 30);
    let metrics = String::from_utf8(run.read("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 1 + 1 + 3);
    assert!(metrics.lines().nth(4).unwrap().starts_with(&format!("3,{},", run.summary()["accuracy"])), "{metrics}");
    let events = fs::read_dir(&run.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(events.filter(|name| name.starts_with("events.out.tfevents.")).count(), 1);
    for round in run.ledger("round") {
        assert!(round["update_norms"].as_array().unwrap().len() == 3, "{round}");
    }
    assert!(output(&place, "verify out").ends_with("verified: 3 rounds have the same bits\n"));
    // A client predicts the test set for the examples of mistakes.
    assert_eq!(output(&place, "report out --mistakes 5"), "the report is in out/report.html\n");
    let page = String::from_utf8(run.read("report.html")).unwrap();
    assert_eq!(page.matches("src=\"data:image&#x2f;png;base64,").count(), 5, "five mistakes are shown");
    assert!(!page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org").count());
}

#[test]
fn a_run_is_watched_from_its_files() {
    let place = Place::new();
    let run = place.run("mlp --rounds 2");
    let whole = output(&place, "watch out");
    assert!(whole.contains("round 2/2  loss ") && whole.ends_with("results in out\n"), "{whole}");
    let output = place.fedpipe("watch nowhere").output().unwrap();
    assert!(
        output.status.code() == Some(5) && stderr(&output).contains("there is no folder nowhere; give"),
        "{output:?}"
    );
    // A host that was killed leaves no result.
    let ledger = String::from_utf8(run.read("ledger.jsonl")).unwrap();
    let cut: Vec<&str> = ledger.lines().filter(|line| !line.contains("\"event\":\"finished\"")).collect();
    fs::write(run.0.join("ledger.jsonl"), cut.join("\n") + "\n").unwrap();
    let output = place.fedpipe("watch out").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("has ended without a result; `fedpipe run --resume out` continues"), "{output:?}");
    assert!(stdout(&output).contains("round 1/2  loss "), "{output:?}");
}
