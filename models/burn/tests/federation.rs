//! The model on burn in a federation of real processes, beside `mlp`: Fashion-MNIST, 4 clients, 5 rounds.
//!
//! `FEDPIPE_BIN` names the command, which is that of a release build by default.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The command, and the folder of the runs.
struct Federation {
    command: PathBuf,
    folder: tempfile::TempDir,
}

impl Federation {
    fn new() -> Self {
        let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/release/fedpipe");
        let command = env::var_os("FEDPIPE_BIN").map_or_else(built, PathBuf::from);
        Self { command, folder: tempfile::tempdir().unwrap() }
    }

    /// Returns the summary of a run, and the losses of its rounds on the test set.
    fn run(&self, model: &str, flags: &str) -> (Value, Vec<f64>) {
        let name = flags.replace([' ', '/'], "") + &model.replace('/', "");
        let out = self.folder.path().join(name);
        let mut command = Command::new(&self.command);
        command.args(["run", model, "--isolation", "require", "--out"]).arg(&out).args(flags.split_whitespace());
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", self.command.display()));
        assert!(output.status.success(), "{model} {flags}: {}", String::from_utf8_lossy(&output.stderr));
        let summary = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        let ledger = fs::read_to_string(out.join("ledger.jsonl")).unwrap();
        let lines = ledger.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let rounds = lines.filter(|line| line["event"] == "round");
        (summary, rounds.map(|round| round["loss"].as_f64().unwrap()).collect())
    }

    /// Repeats a run that this federation has made.
    fn verify(&self, out: &Path) {
        let status = Command::new(&self.command).arg("verify").arg(out).status().unwrap();
        assert!(status.success(), "verify {}", out.display());
    }
}

/// Returns the dylib of `cargo build`, which is in the folder above that of this test. `cargo test` builds none.
fn dylib() -> String {
    let test = env::current_exe().unwrap();
    let dylib = test.ancestors().nth(2).unwrap().join("libburn_mlp.so");
    assert!(dylib.exists(), "{} is missing; run `cargo build` with the flags of `cargo test`", dylib.display());
    dylib.display().to_string()
}

fn accuracy(summary: &Value) -> f64 {
    summary["accuracy"].as_f64().unwrap()
}

#[test]
fn any_number_of_processes_gives_the_same_weights() {
    let federation = Federation::new();
    let flags = "--data sample --clients 5 --rounds 2 --epochs 2 --partition dirichlet:0.3";
    let weights = |processes: u32, strategy: &str| {
        let (summary, _) = federation.run(&dylib(), &format!("{flags} --processes {processes} {strategy}"));
        summary["weights_sha256"].as_str().unwrap().to_owned()
    };
    for strategy in ["", "--strategy scaffold", "--strategy fedprox:0.1 --optimiser adam", "--strategy fednova"] {
        let one = weights(1, strategy);
        for processes in [2, 5] {
            assert_eq!(weights(processes, strategy), one, "{processes} processes, {strategy}");
        }
    }
}

/// The layers, the initial weights and the order of the examples are the same. Only the order of the sums differs.
#[test]
fn its_curve_is_that_of_mlp() {
    let federation = Federation::new();
    let compare = |flags: &str| {
        let (burn, losses) = federation.run(&dylib(), flags);
        let (mlp, expected) = federation.run("mlp", flags);
        let differences: Vec<f64> = losses.iter().zip(&expected).map(|(a, b)| (a - b).abs()).collect();
        (burn, mlp, differences)
    };
    // After 48 steps the rounding shows in no digit that is printed; after 2,345 it has grown.
    let (_, _, differences) = compare("--data sample --clients 4 --rounds 3");
    println!("sample: differences of the loss {differences:.7?}");
    assert!(differences.len() == 3 && differences.iter().all(|&difference| difference < 1e-4), "{differences:?}");
    let (burn, mlp, differences) = compare("--data fashion-mnist --clients 4 --rounds 5");
    let seconds = |summary: &Value| summary["wall_seconds"].as_f64().unwrap();
    println!(
        "burn-mlp {:.2} % in {:.2} s, mlp {:.2} % in {:.2} s; differences of the loss {differences:.6?}",
        100.0 * accuracy(&burn),
        seconds(&burn),
        100.0 * accuracy(&mlp),
        seconds(&mlp)
    );
    // An activation near 0 is cut off in one run and not in the other.
    assert!(differences.len() == 5 && differences.iter().all(|&difference| difference < 0.03), "{differences:?}");
    assert!((accuracy(&burn) - accuracy(&mlp)).abs() < 0.01, "{burn} {mlp}");
    assert!(accuracy(&burn) > 0.8, "{burn}");
}

#[test]
fn a_run_is_verified_bit_by_bit() {
    let federation = Federation::new();
    federation.run(&dylib(), "--data sample --clients 2 --rounds 2");
    for run in fs::read_dir(federation.folder.path()).unwrap() {
        federation.verify(&run.unwrap().path());
    }
}
