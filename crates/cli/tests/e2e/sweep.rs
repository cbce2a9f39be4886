//! A grid of runs: its table, its runs in lists and comparisons, and its continuation after an interruption.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    common::{Place, eventually, stderr, stdout},
    live::children,
};

/// Writes an experiment with this model and so many rounds.
fn experiment(place: &Place, model: &str, rounds: u32) {
    let text = format!("format = 2\nmodel = '{model}'\nrounds = {rounds}\ndata.source = 'sample'\nclients.count = 2\n");
    fs::write(place.path("e.toml"), text).unwrap();
}

/// Runs a command that must succeed and returns what it printed.
fn printed(place: &Place, arguments: &str) -> String {
    let output = place.fedpipe(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}\n{}", output.status, stderr(&output));
    stdout(&output)
}

/// Returns the hash of the weights of each run.
fn hashes(sweep: &Path) -> Vec<String> {
    let file: Value = serde_json::from_slice(&fs::read(sweep.join("sweep.json")).unwrap()).unwrap();
    let runs = file["runs"].as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap());
    let hash = |run: &str| {
        let summary: Value = serde_json::from_slice(&fs::read(sweep.join(run).join("summary.json")).unwrap()).unwrap();
        summary["weights_sha256"].as_str().unwrap().to_owned()
    };
    runs.map(hash).collect()
}

/// Returns the number of rounds in the ledgers of a sweep.
fn rounds(sweep: &Path) -> usize {
    let folders = fs::read_dir(sweep).into_iter().flatten().flatten();
    let ledgers = folders.map(|entry| fs::read_to_string(entry.path().join("ledger.jsonl")).unwrap_or_default());
    ledgers.map(|ledger| ledger.matches("\"event\":\"round\"").count()).sum()
}

/// Starts a sweep and returns it after so many rounds of its runs.
fn started(place: &Place, arguments: &str, out: &str, after: usize) -> Child {
    let mut command = place.fedpipe(&format!("sweep {arguments} --out {out}"));
    let sweep = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the sweep has rounds", || (rounds(&place.path(out)) >= after).then_some(()));
    sweep
}

fn is_alive(process: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn a_grid_is_run_listed_and_compared() {
    let place = Place::new();
    experiment(&place, "logreg", 2);
    let text = printed(&place, "sweep e.toml --set lr=0.01,0.1 --set strategy=fedavg,fedprox:0.1 --set seed=0..1");
    for line in [
        "local.lr = 0.01, 0.1  (2 values)",
        "strategy.name = fedavg, fedprox:mu=0.1  (2 values)",
        "seed = 0, 1  (2 values)",
        "results in runs/sweep-1",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let table: Vec<&str> = text.lines().skip_while(|line| !line.trim_start().starts_with("lr ")).collect();
    assert_eq!(table.iter().take(5).filter(|line| line.contains(" ± ")).count(), 4, "{text}");
    assert_eq!(table.iter().filter(|line| line.starts_with("*  ")).count(), 1, "{text}");

    // A run of the grid is the same run alone.
    let alone = place.run("--config e.toml --lr 0.1 --strategy fedprox:0.1 --seed 1 --out alone");
    assert_eq!(hashes(&place.path("runs/sweep-1"))[7], alone.weights_sha256());

    let list = printed(&place, "runs --where strategy=fedprox --where lr=0.1 --columns seed --sort seed --reverse");
    let names: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["sweep-1/007", "sweep-1/006"], "{list}");
    let json: Value =
        serde_json::from_str(&printed(&place, "runs --json --where seed=1 --where state=finished")).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 4);
    assert_eq!(json[0]["experiment"]["rounds"], "2");
    assert!(json[0]["accuracy"].as_f64().unwrap() <= 1.0 && json[0]["when"].as_str().unwrap().ends_with('Z'));
    let csv = printed(&place, "runs runs/sweep-1 --csv --sort name");
    let mut lines = csv.lines();
    let head = lines.next().unwrap();
    assert!(head.starts_with("name,directory,when,state,") && head.ends_with(",weights_sha256,local.lr"), "{csv}");
    assert!(lines.next().unwrap().starts_with("000,runs/sweep-1/000,"), "{csv}");

    let compared = printed(&place, "compare runs/sweep-1 --where lr=0.1 --picture curves.png");
    assert!(compared.contains("2 configurations of 4 runs, which differ in strategy"), "{compared}");
    assert!(compared.contains("the sign flips of 2 pairs have no p below 0.5000"), "{compared}");
    assert!(fs::read(place.path("curves.png")).unwrap().starts_with(b"\x89PNG"));
    let one = printed(&place, "compare runs/sweep-1/006 alone --measure loss");
    assert!(one.starts_with("1 configuration of 2 runs"), "{one}");
}

#[test]
fn each_run_of_a_sweep_is_verified_and_one_that_differs_is_named() {
    let place = Place::new();
    experiment(&place, "logreg", 1);
    printed(&place, "sweep e.toml --set seed=0..1 --out s --quiet");
    let text = printed(&place, "verify s");
    for name in ["000", "001"] {
        assert!(text.contains(&format!("run {name}: verified: 1 round has the same bits\n")), "{text}");
    }
    assert!(text.ends_with("verified: 2 runs of the sweep\n"), "{text}");
    let summary = place.path("s/001/summary.json");
    let other = fs::read_to_string(&summary).unwrap().replace("\"rounds\": 1", "\"rounds\": 2");
    fs::write(&summary, other).unwrap();
    fs::remove_file(place.path("s/000/ledger.jsonl")).unwrap();
    let output = place.fedpipe("verify s").output().unwrap();
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("error: run 000: s/000 holds no run"), "{errors}");
    assert!(errors.contains("error: run 001: not verified: "), "{errors}");
    assert!(
        errors.ends_with("of 2 runs of the sweep: 1 with a difference, 1 that could not be verified\n"),
        "{errors}"
    );
    fs::remove_file(place.path("s/001/ledger.jsonl")).unwrap();
    assert_eq!(place.fedpipe("verify s").output().unwrap().status.code(), Some(8));
}

/// The kernel kills the runs with their sweep. Afterwards finished runs are left alone, and half of a run continues.
#[test]
fn a_killed_sweep_continues_and_has_the_bits_of_one_that_was_not_killed() {
    let place = Place::new();
    experiment(&place, "logreg", 30);
    let grid = "e.toml --set seed=0..3 --set strategy=fedavgm --at-once 2 --quiet";
    printed(&place, &format!("sweep {grid} --out whole"));
    let mut sweep = started(&place, grid, "killed", 40);
    let runs: Vec<i32> = children(sweep.id() as i32).into_iter().map(|(process, _)| process).collect();
    assert!(!runs.is_empty());
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    eventually("the runs are gone", || runs.iter().all(|&run| !is_alive(run)).then_some(()));
    let finished: Vec<&str> = ["000", "001", "002", "003"]
        .into_iter()
        .filter(|run| place.path("killed").join(run).join("summary.json").exists())
        .collect();
    assert!(finished.len() < 4);
    let ledger = |run: &str| fs::read(place.path("killed").join(run).join("ledger.jsonl")).unwrap();
    let before: Vec<Vec<u8>> = finished.iter().map(|run| ledger(run)).collect();
    let begun = fs::read_to_string(place.path("killed/001/ledger.jsonl")).unwrap_or_default();
    printed(&place, "sweep --resume killed --quiet");
    assert_eq!(hashes(&place.path("killed")), hashes(&place.path("whole")));
    assert_eq!(finished.iter().map(|run| ledger(run)).collect::<Vec<_>>(), before, "a finished run is not repeated");
    if begun.contains("\"event\":\"round\"") && !finished.contains(&"001") {
        let after = String::from_utf8(ledger("001")).unwrap();
        assert!(after.contains("\"event\":\"resumed\""), "half of a run continues");
    }
    // More seeds leave the runs of before alone.
    let before = hashes(&place.path("killed"));
    printed(&place, "sweep --resume killed --set seed=3..4 --quiet");
    let after = hashes(&place.path("killed"));
    assert_eq!((after.len(), &after[..4]), (5, &before[..]));
    let alone = place.run("--config e.toml --seed 4 --strategy fedavgm --out alone");
    assert_eq!(after[4], alone.weights_sha256());
    // Nothing is left to do.
    let again = printed(&place, "sweep --resume killed");
    assert!(again.contains("5 runs, 5 of them finished"), "{again}");
}

#[test]
fn a_stopped_sweep_ends_each_run_and_says_how_to_continue() {
    let place = Place::new();
    experiment(&place, "logreg", 2000);
    let sweep = started(&place, "e.toml --set seed=0..3 --at-once 2", "stopped", 1);
    for run in ["000", "001"] {
        let ledger = place.path("stopped").join(run).join("ledger.jsonl");
        let has_round = || fs::read_to_string(&ledger).is_ok_and(|text| text.contains("\"event\":\"round\""));
        eventually("both runs have a round", || has_round().then_some(()));
    }
    let busy = place.fedpipe("sweep --resume stopped").output().unwrap();
    assert_eq!(busy.status.code(), Some(5));
    assert!(stderr(&busy).contains("another fedpipe sweep is at work in stopped"), "{}", stderr(&busy));
    let running = printed(&place, "runs stopped");
    assert_eq!(running.matches("  running  ").count(), 2, "{running}");
    kill(Pid::from_raw(sweep.id() as i32), Signal::SIGINT).unwrap();
    let output = sweep.wait_with_output().unwrap();
    let errors = stderr(&output);
    assert_eq!((output.status.code(), output.status.signal()), (Some(130), None), "{errors}");
    let expected = "stopped by signal 2: 0 of 4 runs finished; continue with `fedpipe sweep --resume stopped`";
    assert_eq!(errors.lines().last(), Some(expected));
    // Each run that began wrote the results of its last whole round.
    for run in ["000", "001"] {
        let summary: Value =
            serde_json::from_slice(&fs::read(place.path("stopped").join(run).join("summary.json")).unwrap()).unwrap();
        assert!(summary["stopped"]["signal"] == 15 && summary["rounds"].as_u64().unwrap() > 0, "{summary}");
    }
    assert!(!place.path("stopped/003").exists());
}

#[test]
fn a_run_that_fails_is_named_and_ends_no_other() {
    let place = Place::new();
    experiment(&place, "misbehaving", 1);
    let output: Output = place
        .fedpipe("sweep e.toml --set on-failure=drop --set model-options.fault=none,exit-3,error --out out")
        .output()
        .unwrap();
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(8), "{errors}");
    assert!(errors.contains("error: run 001 ended with code 6: round 1 failed"), "{errors}");
    assert!(errors.contains("\nfailed: run 001, code 6: round 1 failed"), "{errors}");
    assert!(
        errors.ends_with("2 of 3 runs did not finish; `fedpipe sweep --resume out` tries them again\n"),
        "{errors}"
    );
    assert!(
        stdout(&output).contains("/3] 000 ")
            && !place.path("out/000.log").exists()
            && place.path("out/001.log").exists()
    );
    let list = printed(&place, "runs out --where state=failed");
    assert_eq!(list.lines().count(), 3, "{list}");
    let compared = place.fedpipe("compare out").output().unwrap();
    assert!(stderr(&compared).contains("warning: 2 runs left out, which did not finish"), "{}", stderr(&compared));
}

/// The file of `init` is an experiment that runs.
#[test]
fn a_commented_experiment_runs_as_written() {
    let place = Place::new();
    printed(&place, "init");
    let run = place.run("--config experiment.toml --data sample --rounds 1 --out out");
    assert_eq!(run.summary()["model"], "mlp");
    let explained = printed(&place, "config --explain lr");
    assert!(explained.starts_with("local.lr\n  Local learning rate\n  flag: --lr X\n"), "{explained}");
    assert!(printed(&place, "config").contains("local.lr"));
}
