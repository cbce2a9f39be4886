//! Personal methods: what stays with each client, its scores, and a test split of each client's own.

use fedpipe_record::{checkpoint::Checkpoint, names};
use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, stderr, stdout},
    idx,
};

/// The targets of the two clients of the fixture `personal`: client 0 has b = 4, and client 1 has b = 8.
const TARGETS: [f32; 2] = [4.0, 8.0];
const FIXTURE: &str =
    "personal --data ./rows --clients 2 --partition shards:per-client=1 --seed 3 --batch-size 4 --lr 0.25 --rounds 4";

fn place() -> Place {
    let place = Place::new();
    idx::write_rows(&place.path("rows"), &TARGETS.map(|target| [target as u8, 0]));
    place
}

/// Returns the values of a slot of each client that has it, by client.
fn slots(run: &Run, name: &str) -> Vec<Vec<f32>> {
    let checkpoint = Checkpoint::all(&run.0, &|_| Ok(())).unwrap().next().unwrap().1.unwrap();
    let values = |file: &fedpipe_record::client_state::ClientFile| {
        let slots = file.read(&run.read(&format!("{}/{}", names::STATE, file.name()))).unwrap();
        slots.vector(name).map(|values| values.to_vec())
    };
    checkpoint.meta.clients.iter().filter_map(values).collect()
}

/// Returns what a round leaves: the hashes of the weights and of the clients' states, and the scores.
fn rounds(run: &Run) -> Vec<[Value; 4]> {
    let of = |line: &Value| ["weights_sha256", "clients_sha256", "personal", "held_out"].map(|key| line[key].clone());
    run.ledger("round").iter().map(of).collect()
}

/// The tensor `own` is shared by the model and kept local by the strategy, or kept local by the model: the same bits.
#[test]
fn a_strategy_keeps_a_tensor_local_as_the_model_itself_does() {
    let place = place();
    let of_model = place.run(&format!("{FIXTURE} --out of-model"));
    for (name, strategy) in [("fedper", "fedper:own"), ("lg", "lg-fedavg:w+seen"), ("bn", "fedbn:own")] {
        let base = format!("{FIXTURE} --model-option place=shared --strategy {strategy} --weighting examples");
        let of_strategy = place.run(&format!("{base} --processes 1 --out {name}"));
        assert_eq!(rounds(&of_strategy), rounds(&of_model), "{strategy}");
        assert_eq!(slots(&of_strategy, "local"), slots(&of_model, "local"), "{strategy}");
    }
}

/// All numbers are sums of few powers of two, so that the test repeats the arithmetic without rounding.
#[test]
fn dittos_own_models_are_pulled_to_the_received_weights_and_the_global_one_is_fedavgs() {
    let place = place();
    let base = format!("{FIXTURE} --model-option place=shared");
    let fedavg = place.run(&format!("{base} --weighting equal --out fedavg"));
    let ditto = place.run(&format!("{base} --strategy ditto:0.5 --processes 1"));
    assert_eq!(ditto.weights_sha256(), fedavg.weights_sha256());
    let step = |[w, own]: [f32; 2], target: f32, pull: [f32; 2]| {
        let residual = w + own - target;
        [w - 0.25 * (residual + pull[0]), own - 0.25 * (residual + pull[1])]
    };
    let (mut global, mut own) = ([0.0, 0.5], [[0.0, 0.5]; 2]);
    for _ in 0..4 {
        for (own, target) in own.iter_mut().zip(TARGETS) {
            let pull = [0.5 * (own[0] - global[0]), 0.5 * (own[1] - global[1])];
            *own = step(*own, target, pull);
        }
        let [a, b] = TARGETS.map(|target| step(global, target, [0.0; 2]));
        global = [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0];
    }
    let held: Vec<Vec<f32>> = slots(&ditto, "personal").into_iter().map(|own| own[..2].to_vec()).collect();
    let near = |(held, own): (&Vec<f32>, &[f32; 2])| held.iter().zip(own).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(held.len() == 2 && held.iter().zip(&own).all(near), "{held:?}, not {own:?}");
}

const METHODS: [&str; 7] = [
    "--strategy ditto:0.5",
    "--strategy fedper",
    "--strategy fedrep:head-epochs=2",
    "--strategy fedbn",
    "--strategy lg-fedavg",
    "--strategy fedbabu --optimiser sgd:momentum=0.9,weight-decay=0.1",
    "--strategy fedper --fine-tune 2",
];

/// Each round of the second run is a session of its own, with fewer processes.
#[test]
fn a_personal_run_has_the_same_bits_with_fewer_processes_and_across_sessions() {
    let place = Place::new();
    for (number, method) in METHODS.iter().enumerate() {
        let base = "mlp --model-option hidden=8 --model-option norm=batch --clients 6 --fraction 0.5 --lr 0.05 \
                    --partition dirichlet:alpha=1 --holdout 0.2";
        let (whole, cut) = (format!("whole-{number}"), format!("cut-{number}"));
        let run = place.run(&format!("{base} {method} --rounds 3 --out {whole}"));
        let expected = rounds(&run);
        let personal = &expected[2][2]["clients"];
        assert!(personal.as_array().is_some_and(|clients| clients.len() >= 3), "{method}: {personal}");
        assert_ne!(expected[2][2], expected[2][3], "{method}: the personal scores are the global ones");
        let other = place.run(&format!("{base} {method} --rounds 1 --processes 2 --out {cut}"));
        for round in 2..=3 {
            let output = place.fedpipe(&format!("run --resume {cut} --rounds {round}")).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            assert_eq!(rounds(&other), expected[..round], "{method}");
        }
        let verified = place.fedpipe(&format!("verify {whole}")).output().unwrap();
        assert!(stdout(&verified).ends_with("verified: 3 rounds have the same bits\n"), "{}", stderr(&verified));
        if method.contains("fedbabu") {
            let head = |run: &Run| {
                let file = run.read("model.safetensors");
                let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
                ["dense1.weight", "dense2.weight"].map(|name| tensors.tensor(name).unwrap().data().to_vec())
            };
            // The head of another number of rounds is the same one, under momentum and weight decay.
            let [[body, of_whole], [other_body, of_short]] =
                [head(&run), head(&place.run(&format!("{base} {method} --rounds 1 --out short")))];
            assert!(of_whole == of_short && body != other_body);
        }
    }
}

/// The global weights of the first four lack what stays with the clients, those of the others are whole.
#[test]
fn global_weights_that_lack_local_tensors_have_no_score_and_are_of_no_use_alone() {
    let place = Place::new();
    let base = "mlp --model-option hidden=8 --model-option norm=batch --clients 4 --holdout 0.2 --rounds 2 --lr 0.05";
    let methods = ["fedper", "fedrep", "fedbn", "lg-fedavg", "ditto:0.5", "fedbabu", "fedavg"];
    for (number, method) in methods.into_iter().enumerate() {
        let run = place.run(&format!("{base} --strategy {method} --out runs/{method}"));
        let (is_whole, summary) = (number >= 4, run.summary());
        for line in run.ledger("round") {
            let has = ["accuracy", "loss", "held_out"].map(|key| line.get(key).is_some());
            assert_eq!(has, [is_whole; 3], "{method}: {line}");
            assert_eq!(line.get("personal").is_some(), method != "fedavg", "{method}: {line}");
        }
        let scores = ["accuracy", "loss", "held_out"].map(|key| !summary[key].is_null());
        assert_eq!((scores, summary["local_tensors"].is_null()), ([is_whole; 3], is_whole), "{method}: {summary}");
        let metrics = String::from_utf8(run.read("metrics.csv")).unwrap();
        assert_eq!(metrics.lines().last().unwrap().starts_with("2,,,"), !is_whole, "{method}: {metrics}");
    }
    let of = |arguments: &str| {
        let output = place.fedpipe(arguments).output().unwrap();
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let no_whole =
        "the global weights of runs/fedper are no whole model: each client has its own dense2.weight, dense2.bias";
    for arguments in ["evaluate runs/fedper", "predict runs/fedper x.csv"] {
        let (code, _, errors) = of(arguments);
        assert!(code == Some(2) && errors.contains(no_whole), "{arguments}: {errors}");
    }
    let (code, _, errors) = of("report runs/fedper");
    assert!(code == Some(0) && errors.contains(no_whole), "{errors}");
    let (code, _, errors) = of("export runs/fedper body.safetensors");
    let warning = "warning: each client has its own dense2.weight, dense2.bias, in runs/fedper/state, and the file has";
    assert!(code == Some(0) && errors.contains(warning), "{errors}");
    // The score that all runs have is that of the models that the clients use.
    let (code, compared, errors) = of("compare runs/fedavg runs/fedper");
    assert!(code == Some(0) && compared.contains("personal, %"), "{compared}{errors}");
    let (_, listed, _) = of("runs --where strategy=fedper");
    assert!(listed.lines().nth(1).unwrap().contains("  own "), "{listed}");
}

#[test]
fn a_method_that_does_not_suit_is_refused_with_the_remedy() {
    let place = Place::new();
    let cases = [
        (
            "mlp --strategy fedbn",
            "local-norm:norm=auto does not suit the model: it has no normalisation layer; add one",
        ),
        ("mlp --strategy fedper:dense9", "it has no tensor and no layer \"dense9\"; its tensors are dense1.weight"),
        ("mlp --strategy fedrep:head=3", "head=3 takes all of its layers, which are 3; give a smaller number"),
        ("mlp --strategy lg-fedavg:0", "the head is empty, so that nothing is shared; name a layer"),
        ("mlp --strategy fedbabu:dense9", "the client term frozen-head:head=dense9 does not suit the model"),
        ("mlp --strategy fedper --transform int8", "do not combine: the transform would alter the tensors that stay"),
        ("mlp --strategy ditto:20 --lr 0.1", "the product of --lr 0.1 and lambda"),
        ("mlp --strategy ditto:-1", "lambda"),
        ("mlp --strategy ditto:1 --optimiser sgd:momentum=0.9,keep=true", "take keep=false"),
        ("mlp --fine-tune 1", "--fine-tune has no effect on a run without --holdout"),
        ("mlp --test-split per-client:0.25", "per-client:0.25,merge"),
        ("mlp --test-split per-client:0.25,merge --holdout 0.1", "leave --holdout out"),
        (
            "mlp --strategy fedper --until accuracy=0.5",
            "--until accuracy=0.5 needs a score of the global weights, but the client term local-head:head=1 keeps the tensors",
        ),
        ("mlp --strategy fedrep --holdout 0.1 --by-class", "--by-class needs a score of the global weights"),
    ];
    check_all(cases, |(arguments, says)| {
        let (output, _) = place.try_run(arguments);
        let errors = stderr(&output);
        let is_named = output.status.code() == Some(2) && errors.contains(says);
        if is_named { Ok(()) } else { Err(format!("{arguments}: {}: {errors}", output.status)) }
    });
}

/// The sample has 2000 training and 500 test examples.
#[test]
fn a_test_split_per_client_scores_each_client_on_its_own_part_of_all_examples() {
    let place = Place::new();
    let (output, run) =
        place.try_run("logreg --test-split per-client:0.25,merge --clients 5 --partition dirichlet:alpha=1 --rounds 2");
    assert!(output.status.success(), "{}", stderr(&output));
    let dealt = &run.ledger("dealt")[0];
    let numbers = |key: &str| -> Vec<u64> {
        dealt[key].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
    };
    let (sizes, held_out) = (numbers("sizes"), numbers("held_out"));
    assert_eq!(sizes.iter().chain(&held_out).sum::<u64>(), 2500);
    assert!(sizes.iter().zip(&held_out).all(|(size, held)| *held == (size + held) / 4), "{sizes:?} {held_out:?}");
    let dataset = &dealt["dataset"];
    assert_eq!((&dataset["train_examples"], &dataset["test_examples"]), (&json!(2500), &json!(0)));
    for round in run.ledger("round") {
        assert_eq!(round["accuracy"], round["held_out"]["accuracy"]["mean"]);
        assert_eq!(round["loss"], round["held_out"]["loss"]["mean"]);
        assert_eq!(round["held_out"]["examples"], json!(held_out));
    }
    let says = "sample: 2500 examples, training and test ones merged; 5 clients with";
    assert!(stderr(&output).contains(says) || stdout(&output).contains(says), "{}", stderr(&output));
    let verified = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(verified.ends_with("verified: 2 rounds have the same bits\n"), "{verified}");
    let refused = place.fedpipe("evaluate out").output().unwrap();
    assert!(stderr(&refused).contains("the run has no test set"), "{}", stderr(&refused));
}
