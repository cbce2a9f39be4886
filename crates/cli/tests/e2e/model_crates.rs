//! Model crates outside of the repository: one that depends on `fedpipe-model` alone, and that of the author's guide.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::common::{Place, repository, stderr, stdout};

#[test]
fn a_model_crate_outside_the_repository_is_built_and_run_unchanged() {
    let place = Place::new();
    let folder = place.path("outside");
    fs::create_dir_all(folder.join("src")).unwrap();
    let model = repository().join("crates/model").canonicalize().unwrap();
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"3.2.1\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nfedpipe-model = {{ path = {:?} }}\n",
        model.display().to_string()
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(repository().join("crates/cli/fixtures/class_counts.rs"), folder.join("src/lib.rs")).unwrap();
    // Offline, only the versions of this repository's lock file are on this machine.
    fs::copy(repository().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    configure_cargo(&place);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet", "--target-dir"]).arg(target()).current_dir(&folder);
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", stderr(&built));

    let dylib = target().join("release/liboutside.so");
    let run = place.run(&format!("{} --clients 3 --rounds 2 --model-option start=0.5", dylib.display()));
    let summary = run.summary();
    assert_eq!((&summary["model"], &summary["rounds"]), (&json!("outside"), &json!(2)));
    let (output, _) = place.try_run(&format!("{} --rounds 1 --out loud", dylib.display()));
    assert!(stdout(&output).contains("outside 3.2.1: 10 weights"), "{}", stdout(&output));

    // The weights count classes: the mean over the clients of the counts of two epochs. All classes have as many
    // examples.
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
    // There are Σ n_k² / Σ n_k examples a round, for clients with 667, 667 and 666, and 0.5 at the start, ten times.
    assert!((sum - (5.0 + 2.0 * 666.667)).abs() < 0.01, "{counts:?}");
}

/// Follows `models/README.md` from an empty folder, with the crate that `fedpipe new-model` writes. The first block
/// sets the environment: the path of the command.
#[test]
fn the_authors_guide_works_as_printed() {
    let (place, guide) = (Place::new(), guide());
    configure_cargo(&place);
    let commands = blocks(&guide, "sh");
    assert!(commands[0].starts_with("export PATH="), "{}", commands[0]);
    succeed(shell(&place, &commands[1], ""));
    let sources = blocks(&guide, "rust");
    let written = ["lib.rs", "tests.rs"].map(|file| fs::read_to_string(place.path("mine/src").join(file)).unwrap());
    assert_eq!(sources, written);
    // cargo does not create the folder behind a link.
    fs::create_dir_all(target()).unwrap();
    symlink(target(), place.path("mine/target")).unwrap();
    let printed = succeed(shell(&place, &commands[2], "mine"));
    let expected = ["5 passed", "mine 0.1.0: 50890 weights", "mine 0.1.0: 25450 weights", "runs/mine-2"];
    expected.iter().for_each(|text| assert!(printed.contains(text), "{text} is not in:\n{printed}"));
}

#[test]
fn a_new_model_takes_nobodys_place_and_names_its_type() {
    let place = Place::new();
    let output = place.fedpipe("new-model two-words").output().unwrap();
    let says = "`fedpipe run ./target/release/libtwo_words.so --data sample` trains it\n";
    assert!(output.status.success() && stdout(&output).ends_with(says), "{}{}", stdout(&output), stderr(&output));
    let source = fs::read_to_string(place.path("two-words/src/lib.rs")).unwrap();
    assert!(source.contains("export_model!(TwoWordsModel);") && !source.contains("Mine"));
    let output = place.fedpipe("new-model two-words").output().unwrap();
    let why = "error: two-words exists already; give a folder that does not\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(2), why));
    let output = place.fedpipe("new-model Two").output().unwrap();
    assert!(output.status.code() == Some(2) && stderr(&output).contains("\"Two\" is no name"), "{}", stderr(&output));
}

/// Follows the guide's commands for a model in `models/`, in a clone that consists of links, without a build.
#[test]
fn the_authors_guide_makes_a_member_of_the_workspace() {
    let place = Place::new();
    fs::create_dir(place.path("models")).unwrap();
    for linked in ["crates", "models/cnn", "models/linreg", "models/logreg", "models/mlp"] {
        symlink(repository().join(linked).canonicalize().unwrap(), place.path(linked)).unwrap();
    }
    for copied in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(repository().join(copied), place.path(copied)).unwrap();
    }
    let commands = blocks(&guide(), "sh");
    let metadata = "cargo metadata --quiet --no-deps --format-version 1 >metadata.json";
    let said = succeed(shell(&place, &format!("{}{metadata}", commands[3]), ""));
    assert!(said.contains("a member of the workspace; `cargo test --package mine` tests it"), "{said}");
    let metadata: Value = serde_json::from_slice(&fs::read(place.path("metadata.json")).unwrap()).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mine = packages.iter().find(|package| package["name"] == "mine").expect("a member");
    let names = |key: &str| mine[key].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names("dependencies"), ["fedpipe-model", "fedpipe-nn"]);
    assert_eq!(mine["targets"][0]["crate_types"], json!(["cdylib"]));
}

fn guide() -> String {
    fs::read_to_string(repository().join("models/README.md")).unwrap()
}

/// Returns the fenced blocks of `language` in a text, in order.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fenced = markdown.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(&format!("{language}\n"))).map(str::to_owned).collect()
}

/// Runs `commands` in `folder` of `place`, as a user with a built clone does, without a network.
pub(crate) fn shell(place: &Place, commands: &str, folder: &str) -> Output {
    let beside = |program: &str| Path::new(program).parent().unwrap().display().to_string();
    let path = [beside(env!("CARGO_BIN_EXE_fedpipe")), beside(env!("CARGO")), std::env::var("PATH").unwrap()];
    let mut shell = Command::new("sh");
    place.settle(&mut shell).args(["-euc", commands]).current_dir(place.path(folder));
    shell.env("PATH", path.join(":"));
    // The new crate has a target folder of its own.
    shell.env_remove("CARGO_TARGET_DIR").env("CARGO_NET_OFFLINE", "true");
    shell.output().unwrap()
}

/// Keeps cargo from using the network, and from optimising libraries whose speed does not matter here.
fn configure_cargo(place: &Place) {
    let config =
        "net.offline = true\n[profile.release]\nopt-level = 0\n[profile.release.package.fedpipe-nn]\nopt-level = 2\n";
    fs::create_dir(place.path(".cargo")).unwrap();
    fs::write(place.path(".cargo/config.toml"), config).unwrap();
}

/// Returns the standard output of a command that succeeded.
pub(crate) fn succeed(output: Output) -> String {
    assert!(output.status.success(), "{}\n{}\n{}", output.status, stdout(&output), stderr(&output));
    stdout(&output)
}

/// Returns the target folder of these crates. Runs of the tests share it, since abi_stable takes a while to build.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside")
}
