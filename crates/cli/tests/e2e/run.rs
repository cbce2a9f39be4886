//! The results and files of a run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::{
    common::{Place, Run, check_all, dylib, repository, sha256, stderr, stdout},
    idx,
};

/// A model that trains fast, and few rounds.
const SMALL: &str = "mlp --model-option hidden=16 --rounds 2";

#[test]
fn a_run_leaves_its_directory() {
    let place = Place::new();
    let run = place.run(SMALL);
    let mut names: Vec<String> =
        fs::read_dir(&run.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    // These files are for a resume and a reload.
    names.retain(|name| !["checkpoint", "host.pid"].contains(&name.as_str()));
    names.sort();
    let expected = [
        "clients",
        "experiment.toml",
        "ledger.jsonl",
        "metrics.csv",
        "model.safetensors",
        "model.so",
        "partition.png",
        "partitions.sha256",
        "report.html",
        "result.png",
        "summary.json",
        "timeline.jsonl",
    ];
    assert_eq!(names, expected, "what is missing, or a temporary file that stayed");
    for picture in ["partition.png", "result.png"] {
        assert!(run.read(picture).starts_with(b"\x89PNG\r\n"), "{picture}");
    }
    assert!(run.read("model.so") == fs::read(dylib("mlp")).unwrap(), "model.so is not the dylib that was given");
    assert!(!fs::exists(place.path("runs")).unwrap());
}

#[test]
fn the_summary_says_what_was_run_and_what_came_of_it() {
    let place = Place::new();
    let run = place.run(&format!("{SMALL} --seed 3"));
    let summary = run.summary();
    for (field, expected) in [
        ("model", json!("mlp")),
        ("dataset", json!("sample")),
        ("clients", json!(4)),
        ("rounds", json!(2)),
        ("strategy", json!("fedavg")),
        ("partition", json!("iid")),
        ("seed", json!(3)),
        ("failures", json!(0)),
        ("stopped", json!("rounds")),
    ] {
        assert_eq!(summary[field], expected, "{field}");
    }
    let accuracy = summary["accuracy"].as_f64().unwrap();
    assert!((0.3..1.0).contains(&accuracy), "after two rounds it knows something: {summary}");
    assert!(summary["loss"].as_f64().unwrap() > 0.0 && summary["wall_seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_ledger_has_a_line_for_every_round() {
    let place = Place::new();
    let run = place.run(SMALL);
    let rounds = run.ledger("round");
    assert_eq!(rounds.iter().map(|round| round["round"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for round in &rounds {
        assert_eq!((&round["clients"], &round["failed"]), (&json!(4), &json!(0)));
        assert!((0.0..=1.0).contains(&round["accuracy"].as_f64().unwrap()), "{round}");
        assert!(round["loss"].as_f64().unwrap() > 0.0 && round["seconds"].as_f64().unwrap() > 0.0, "{round}");
        assert_eq!(round["weights_sha256"].as_str().unwrap().len(), 64, "{round}");
    }
    let (last, summary) = (&rounds[1], run.summary());
    for field in ["accuracy", "loss", "weights_sha256"] {
        assert_eq!(last[field], summary[field], "{field}");
    }
    let text = String::from_utf8(run.read("ledger.jsonl")).unwrap();
    let has_event = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["event"].is_string());
    assert!(text.ends_with('\n') && text.lines().all(has_event), "{text}");
    assert_eq!(run.ledger("ready")[0]["dylib_sha256"], json!(sha256(&run.read("model.so"))));
}

#[test]
fn the_weights_have_the_layouts_names_and_shapes_and_the_summarys_digest() {
    let place = Place::new();
    let run = place.run(SMALL);
    let file = run.read("model.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let layout = [
        ("dense1.weight", vec![784, 16]),
        ("dense1.bias", vec![16]),
        ("dense2.weight", vec![16, 10]),
        ("dense2.bias", vec![10]),
    ];
    assert_eq!(tensors.len(), layout.len());
    let mut bytes = Vec::new();
    for (name, shape) in layout {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape(), shape, "{name}");
        bytes.extend_from_slice(tensor.data());
    }
    assert_eq!(sha256(&bytes), run.weights_sha256());
}

#[test]
fn the_seed_decides_the_bits() {
    let digest = |seed: u32| {
        let place = Place::new();
        place.run(&format!("{SMALL} --seed {seed}")).weights_sha256()
    };
    let one = digest(1);
    assert_eq!(one, digest(1));
    assert_ne!(one, digest(2));
}

#[test]
fn any_number_of_clients_shares_the_examples() {
    let place = Place::new();
    // There are 2,000 examples, which 7 does not divide.
    for (clients, sizes) in [(1, vec![2000]), (7, vec![286, 286, 286, 286, 286, 285, 285])] {
        let run = place.run(&format!("logreg --rounds 1 --clients {clients} --out of-{clients}"));
        let mut dealt: Vec<u64> = serde_json::from_value(run.ledger("dealt")[0]["sizes"].clone()).unwrap();
        dealt.sort_by(|a, b| b.cmp(a));
        assert_eq!(dealt, sizes);
        assert_eq!(run.ledger("round")[0]["clients"], json!(clients));
    }
}

#[test]
fn processes_and_jobs_change_no_bit() {
    let place = Place::new();
    let whole = place.run(&format!("{SMALL} --clients 5")).weights_sha256();
    let cases = [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (5, 1), (5, 5)];
    check_all(cases, |(processes, jobs)| {
        let out = format!("out-{processes}-{jobs}");
        let arguments = format!("{SMALL} --clients 5 --processes {processes} --jobs {jobs} --out {out}");
        let digest = place.run(&arguments).weights_sha256();
        (digest == whole).then_some(()).ok_or(format!("{digest} is not {whole}"))
    });
}

/// Clients that take their time, under every division of the work. That no result depends on the order of arrival is a
/// test of the host's fleet.
#[test]
fn the_speed_of_clients_changes_no_bit() {
    let place = Place::new();
    let prompt = "misbehaving --clients 5 --rounds 3";
    let whole = place.run(prompt).weights_sha256();
    for (number, division) in ["--jobs 5", "--processes 2", "--processes 3 --jobs 3"].into_iter().enumerate() {
        let run = place.run(&format!("{prompt} --model-option fault=dawdle {division} --out dawdling-{number}"));
        assert_eq!(run.weights_sha256(), whole, "{division}");
    }
}

#[test]
fn every_strategy_partition_and_optimiser_runs_and_differs() {
    let place = Place::new();
    let mut seen = vec![place.run(SMALL).weights_sha256()];
    for (number, arguments) in [
        "--strategy fedavgm",
        "--strategy fedavgm:beta=0.5,nesterov=true",
        "--strategy fedadam:rate=0.02",
        "--partition dirichlet:alpha=0.3",
        "--partition dirichlet:0.1",
        "--partition shards:per-client=2",
        "--optimiser sgd:momentum=0.9",
        "--optimiser adam --lr 0.001",
        "--epochs 2",
        "--batch-size 50",
        "--lr 0.05",
        "--fraction 0.5",
    ]
    .iter()
    .enumerate()
    {
        let run = place.run(&format!("{SMALL} {arguments} --out run-{number}"));
        assert!(run.summary()["loss"].as_f64().unwrap() < 3.0, "{arguments}: {}", run.summary());
        let digest = run.weights_sha256();
        assert!(!seen.contains(&digest), "{arguments} made no difference");
        seen.push(digest);
    }
}

#[test]
fn a_run_continues_until_it_has_converged_and_says_so() {
    let place = Place::new();
    let arguments = "logreg --lr 0.05 --until-converged --tolerance 0.3 --max-rounds 50";
    let (output, run) = place.try_run(arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = run.summary();
    assert_eq!(summary["stopped"], json!("converged"));
    assert!((3..50).contains(&summary["rounds"].as_u64().unwrap()), "{summary}");
    assert!(stdout(&output).contains("converged: the loss fell by at most 0.3 of its whole fall"));

    let (output, run) = place.try_run("logreg --until-converged --tolerance 1e-9 --max-rounds 2 --out bounded");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!((&run.summary()["stopped"], &run.summary()["rounds"]), (&json!("max-rounds"), &json!(2)));
    assert!(stdout(&output).contains("stopped at --max-rounds 2 without converging"), "{}", stdout(&output));
}

#[test]
fn quiet_prints_the_result_only() {
    let place = Place::new();
    let (output, _) = place.try_run(&format!("{SMALL} --quiet"));
    let (text, errors) = (stdout(&output), stderr(&output));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("accuracy ") && lines[1] == "results in out", "{text}");
    assert!(errors.is_empty(), "{errors}");
    // Without a terminal there are plain lines: no escape sequences, and one line for each round.
    let (output, _) = place.try_run(&format!("{SMALL} --out loud"));
    let text = stdout(&output);
    assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
    assert!(text.contains("\nround 1/2  loss ") && text.contains("\nround 2/2  loss "), "{text}");
}

#[test]
fn a_runs_own_experiment_reproduces_it() {
    let place = Place::new();
    let arguments = "--clients 3 --seed 9 --partition dirichlet:0.5 --strategy fedavgm --lr 0.07 --epochs 2";
    let first = place.run(&format!("{SMALL} {arguments} --out first"));
    let again = place.run("--config first/experiment.toml --out again");
    assert_eq!(first.weights_sha256(), again.weights_sha256());
    assert_eq!(first.read("experiment.toml"), again.read("experiment.toml"));

    // Flags override the file, and `--set` overrides flags.
    let other = place.run("--config first/experiment.toml --seed 10 --set rounds=1 --rounds 3 --out other");
    assert_eq!((&other.summary()["seed"], &other.summary()["rounds"]), (&json!(10), &json!(1)));
    let set =
        place.run(&format!("{SMALL} --set seed=10 --set model-options.hidden=8 --set strategy.name=fedadam --out set"));
    assert_eq!(
        (&set.summary()["seed"], &set.summary()["strategy"]),
        (&json!(10), &json!("fedadam:rate=0.01,beta1=0.9,beta2=0.99,tau=0.001,v0=tau^2,bias-correction=false"))
    );
}

#[test]
fn a_seed_of_its_own_changes_its_own_draw_alone() {
    let place = Place::new();
    let drawn = |flag: &str| {
        let out = format!("run{}", flag.replace(' ', ""));
        let run = place.run(&format!("{SMALL} --clients 9 --fraction 0.4 --seed 1 {flag} --out {out}"));
        let first = &run.ledger("round")[0];
        let initial = run.ledger("ready")[0]["weights_sha256"].clone();
        [
            run.read("partitions.sha256"),
            initial.to_string().into_bytes(),
            first["participants"].to_string().into_bytes(),
        ]
    };
    let plain = drawn("");
    for (index, flag) in ["--data-seed 7", "--init-seed 7", "--sample-seed 7"].into_iter().enumerate() {
        let drawn = drawn(flag);
        let differs: Vec<usize> = (0..3).filter(|&index| drawn[index] != plain[index]).collect();
        assert_eq!(differs, [index], "{flag}");
    }
}

#[test]
fn runs_are_numbered_where_no_folder_is_named() {
    let place = Place::new();
    for number in [1, 2] {
        let mut command = place.fedpipe("run logreg --rounds 1 --data sample --quiet");
        let output = command.output().unwrap();
        assert!(stdout(&output).ends_with(&format!("results in runs/logreg-{number}\n")), "{}", stdout(&output));
        assert_eq!(Run(place.path(format!("runs/logreg-{number}"))).summary()["rounds"], json!(1));
    }
}

#[test]
fn two_runs_at_once_share_a_cache_and_number_themselves_apart() {
    let place = Place::new();
    let start = |_| place.fedpipe("run logreg --rounds 1 --data sample --quiet").stdout(Stdio::null()).spawn().unwrap();
    let runs = [1, 2, 3].map(start);
    runs.into_iter().for_each(|mut run| assert!(run.wait().unwrap().success()));
    let digests = [1, 2, 3].map(|n| Run(place.path(format!("runs/logreg-{n}"))).weights_sha256());
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn a_model_is_run_by_its_path_and_on_anybodys_images() {
    let place = Place::new();
    fs::copy(dylib("logreg"), place.path("mine.so")).unwrap();
    idx::write(&place.path("images"));
    let run = place.run("./mine.so --data images --clients 7 --rounds 2");
    let summary = run.summary();
    assert_eq!((&summary["model"], &summary["dataset"]), (&json!("logreg"), &json!("images")));
    let tensors = run.read("model.safetensors");
    assert_eq!(SafeTensors::deserialize(&tensors).unwrap().tensor("dense1.weight").unwrap().shape(), [6, 3]);
}

#[test]
fn models_are_listed_with_their_options_and_the_rest_is_passed_over() {
    let place = Place::new();
    let folder = place.path("models");
    fs::create_dir(&folder).unwrap();
    for name in ["mlp", "logreg", "not-a-model", "other-abi"] {
        fs::copy(dylib(name), folder.join(format!("lib{name}.so"))).unwrap();
    }
    fs::write(folder.join("libtext.so"), "no library").unwrap();
    let output = place.fedpipe("models").env("FEDPIPE_MODELS", &folder).output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    let option = "  --model-option hidden=…  widths of the hidden layers, from the inputs on [default: 128,64]";
    let mlp = format!("  {}", folder.join("libmlp.so").display());
    for expected in ["mlp 0.1.0  multi-layer perceptron", option, "logreg 0.1.0  ", &mlp] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    assert!(!text.contains("libnot-a-model.so") && !text.contains("libtext.so"), "{text}");
}

#[test]
fn no_fixture_of_a_test_or_bench_is_listed_as_a_model() {
    let place = Place::new();
    // All fixtures are in the folder of the models.
    let output = place.fedpipe("models").output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success(), "{}", stderr(&output));
    let names = text.lines().filter(|line| !line.starts_with(' ')).map(|line| line.split(' ').next().unwrap());
    let models = fs::read_dir(repository().join("models")).unwrap().map(|entry| entry.unwrap().path());
    // A model with a lock file is outside the workspace.
    let is_member = |folder: &PathBuf| folder.join("Cargo.toml").exists() && !folder.join("Cargo.lock").exists();
    let mut crates: Vec<_> = models.filter(is_member).collect();
    crates.sort();
    let crates: Vec<_> = crates.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        assert!(line.contains(", for classes") || line.contains(", for a real target"), "{line}");
    }
    assert!(dylib("idle").exists() && dylib("hostile").exists() && dylib("misbehaving").exists());
    assert_eq!(names.collect::<Vec<_>>(), crates);
}

#[test]
fn a_command_that_the_dynamic_loader_started_has_its_models_and_its_clients() {
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loaders.iter().find(|loader| Path::new(loader).exists()) else {
        return eprintln!("skipped: none of {loaders:?} is here");
    };
    let place = Place::new();
    let mut command = Command::new(loader);
    // The model is found only beside the command.
    place.settle(&mut command).env_remove("FEDPIPE_MODELS").arg(env!("CARGO_BIN_EXE_fedpipe"));
    let output = command.args(["run", "logreg", "--data", "sample", "--rounds", "1", "--out", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(Run(place.path("out")).weights_sha256(), place.run("logreg --rounds 1 --out usual").weights_sha256());
}

#[test]
fn a_label_far_above_the_others_is_named_at_the_start_of_each_run() {
    let place = Place::new();
    let folder = place.path("images");
    idx::write(&folder);
    let (usual, _) = place.try_run("logreg --data images --rounds 1 --quiet --out usual");
    assert_eq!((usual.status.code(), stderr(&usual).as_str()), (Some(0), ""));
    let mut labels = idx::labels(60);
    labels[8 + 17] = 255;
    fs::write(folder.join(idx::FILES[1]), labels).unwrap();
    let warning = "warning: images has the label 255 (first at row 17) and no example of the classes 3 to 254: the model is \
                   given 256 classes, 252 of them without an example; correct the label, or number the classes without \
                   gaps, unless this is meant\nwarning: images has 1 class without a test example: 255\n";
    // The second run finds the partitions of the first.
    for out in ["first", "second"] {
        let (output, _) = place.try_run(&format!("logreg --data images --rounds 1 --quiet --out {out}"));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), warning));
    }
}

/// The client reports the instruction set that its model computes with. Arithmetic in software is slow, and a warning
/// says so.
#[test]
fn the_ledger_names_the_instruction_set_of_the_clients() {
    let place = Place::new();
    for (isa, out) in [("", "fastest"), ("portable", "slowest")] {
        let (mut command, run) = place.command(&format!("logreg --rounds 1 --out {out}"));
        let output = command.env("FEDPIPE_ISA", isa).output().unwrap();
        let used = run.ledger("ready")[0]["instruction_set"].clone();
        let is_known = ["portable", "avx2", "avx512"].iter().any(|known| used == *known);
        assert!(is_known && (isa.is_empty() || used == isa), "{isa:?} {used}");
        let is_slow = cfg!(target_arch = "x86_64") && used == "portable";
        assert_eq!(stderr(&output).contains("multiply-add runs in software"), is_slow, "{}", stderr(&output));
    }
}

#[test]
fn a_run_that_learned_nothing_says_so_and_one_that_did_does_not() {
    let place = Place::new();
    let (output, run) = place.try_run(&format!("{SMALL} --lr 10 --quiet --out steep"));
    let (errors, summary) = (stderr(&output), run.summary());
    let initial = summary["initial_loss"].as_f64().unwrap();
    let losses: Vec<f64> = run.ledger("round").iter().map(|round| round["loss"].as_f64().unwrap()).collect();
    assert!(losses.iter().all(|loss| *loss >= initial), "{losses:?} {initial}");
    let expected = format!(
        "warning: no round was better than the initial weights (test loss {initial:.4}): the run has learned nothing; \
         lower --lr\n"
    );
    assert_eq!((output.status.code(), errors, &summary["loss_fell"]), (Some(0), expected, &json!(false)));

    let (output, run) = place.try_run(&format!("{SMALL} --quiet --out usual"));
    assert_eq!((stderr(&output).as_str(), &run.summary()["loss_fell"]), ("", &json!(true)));
    // The initial weights are equal, so that the model is the same.
    assert_eq!(run.summary()["initial_loss"], summary["initial_loss"]);
    for out in ["steep", "usual"] {
        let output = place.fedpipe(&format!("verify {out}")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    // A wider model leaves the range of numbers, which ends the run with the same remedy.
    let (output, _) = place.try_run("mlp --lr 10 --rounds 2 --quiet --out wide");
    assert_eq!(output.status.code(), Some(6));
    assert!(stderr(&output).trim_end().ends_with("; lower --lr"), "{}", stderr(&output));
}
