//! A model crate of somebody else's, outside the repository, that knows `fedpipe-model` and nothing more.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::common::{Place, repository, stderr, stdout};

#[test]
fn a_model_crate_outside_the_repository_is_built_and_run_unchanged() {
    let place = Place::new();
    let folder = place.path("outside");
    fs::create_dir_all(folder.join("src")).unwrap();
    let model = repository().join("crates/model").canonicalize().unwrap();
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"3.2.1\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nfedpipe-model = {{ path = {:?} }}\n\n[profile.dev]\ndebug = false\n",
        model.display().to_string()
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(repository().join("crates/cli/fixtures/outside.rs"), folder.join("src/lib.rs")).unwrap();
    // The versions that this repository was built with are on this machine.
    fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    // Kept between runs of the tests, since abi_stable takes a while.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet", "--target-dir"]).arg(&target).current_dir(&folder);
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", stderr(&built));

    let dylib = target.join("debug/liboutside.so");
    let run = place.run(&format!("{} --clients 3 --rounds 2 --model-option start=0.5", dylib.display()));
    let summary = run.summary();
    assert_eq!((&summary["model"], &summary["rounds"]), (&json!("outside"), &json!(2)));
    let (output, _) = place.try_run(&format!("{} --rounds 1 --out loud", dylib.display()));
    assert!(stdout(&output).contains("outside 3.2.1: 10 weights"), "{}", stdout(&output));

    // Counts of the classes: the mean over the clients of what each has seen, twice; all classes are as many.
    let file = run.read("model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let counts: Vec<f32> = tensors
        .tensor("counts")
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let sum: f32 = counts.iter().sum();
    // Σ n_k² / Σ n_k examples a round, for clients with 667, 667 and 666; and 0.5 to start from, ten times.
    assert!((sum - (5.0 + 2.0 * 666.667)).abs() < 0.01, "{counts:?}");
}
