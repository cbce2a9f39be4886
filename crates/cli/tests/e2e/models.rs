//! The models that a command finds: by path, in its folders, and beside itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use safetensors::SafeTensors;
use serde_json::json;

use crate::{
    common::{Place, Run, dylib, repository, stderr, stdout},
    idx,
};

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
