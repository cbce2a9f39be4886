//! `fedpipe verify` calls a run verified only if all that the run vouches for is the same.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    common::{Place, Run, check_all, dylib, sha256, stderr, stdout},
    live::Live,
};

/// A change of a run directory.
type Alter = fn(&Run);

/// Edits the lines of a ledger and chains them again. Removes the checkpoints, which have the old chain.
pub(crate) fn rechain(run: &Run, edit: impl FnOnce(&mut Vec<String>)) {
    let text = String::from_utf8(run.read("ledger.jsonl")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    let mut hash = "0".repeat(64);
    for line in &mut lines {
        let start = line.rfind("\"prev\":\"").unwrap() + 8;
        line.replace_range(start..start + 64, &hash);
        hash = sha256(line.as_bytes());
    }
    fs::write(run.0.join("ledger.jsonl"), lines.join("\n") + "\n").unwrap();
    fs::remove_dir_all(run.0.join("checkpoint")).unwrap();
}

/// Replaces the value of a number or a text in the first line with `event` that has this `field`.
pub(crate) fn edit(lines: &mut [String], event: &str, field: &str, value: &str) {
    let tag = format!("{{\"event\":\"{event}\"");
    let named = format!("\"{field}\":");
    let line = lines.iter_mut().find(|line| line.starts_with(&tag) && line.contains(&named)).unwrap();
    let start = line.find(&named).unwrap() + named.len();
    let end = start + line[start..].find([',', '}', ']']).unwrap();
    line.replace_range(start..end, value);
}

fn replace(run: &Run, name: &str, from: &str, to: &str) {
    let text = String::from_utf8(run.read(name)).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(run.0.join(name), text.replacen(from, to, 1)).unwrap();
}

fn flip_last_byte(run: &Run, name: &str) {
    let mut bytes = run.read(name);
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(run.0.join(name), bytes).unwrap();
}

pub(crate) const HASH: &str = "\"0000000000000000000000000000000000000000000000000000000000000000\"";

/// Each alteration, with the text that `fedpipe verify` prints about it.
const ALTERED: &[(&str, Alter, &str)] = &[
    (
        "accuracy",
        |run| rechain(run, |lines| edit(lines, "round", "accuracy", "0.99")),
        "round 1: the accuracy is\n  here: ",
    ),
    (
        "another build",
        |run| {
            rechain(run, |lines| {
                edit(lines, "started", "fedpipe", "\"0.0.9\"");
                edit(lines, "round", "accuracy", "0.99");
            });
        },
        "  in the ledger:  0.99\n  made by:        fedpipe 0.0.9",
    ),
    (
        "test loss",
        |run| rechain(run, |lines| edit(lines, "round", "loss", "0.01")),
        "round 1: the test loss is\n  here: ",
    ),
    (
        "training loss",
        |run| rechain(run, |lines| edit(lines, "round", "training_loss", "0.01")),
        "round 1: the training loss is\n  here: ",
    ),
    (
        "change",
        |run| rechain(run, |lines| edit(lines, "round", "weights_change", "0.01")),
        "round 1: the change of the weights is\n  here: ",
    ),
    (
        "weights",
        |run| rechain(run, |lines| edit(lines, "round", "weights_sha256", HASH)),
        "round 1: the weights first differ: they are\n  here: ",
    ),
    (
        "server",
        |run| rechain(run, |lines| edit(lines, "round", "server_sha256", HASH)),
        "round 1: the server's state is\n  here: ",
    ),
    (
        "failed",
        |run| rechain(run, |lines| edit(lines, "round", "failed", "1")),
        "round 1: the ledger says 2 clients and 1 that failed, of 2 sampled and 2 that took part",
    ),
    (
        "failed beyond all numbers",
        |run| rechain(run, |lines| edit(lines, "round", "failed", "4294967295")),
        "and 4294967295 that failed",
    ),
    (
        "failed everywhere",
        |run| {
            rechain(run, |lines| {
                edit(lines, "round", "failed", "1");
                edit(lines, "finished", "clients_dropped", "true");
            });
            replace(run, "summary.json", "\"clients_dropped\": false", "\"clients_dropped\": true");
        },
        "round 1: the ledger says 2 clients and 1 that failed",
    ),
    (
        "partitions",
        |run| {
            flip_last_byte(run, "partitions.sha256");
            let list = sha256(&run.read("partitions.sha256"));
            rechain(run, |lines| edit(lines, "dealt", "partitions_sha256", &format!("\"{list}\"")));
        },
        "the partitions are\n  here: ",
    ),
    ("list of partitions", |run| flip_last_byte(run, "partitions.sha256"), "partitions.sha256 is not the list"),
    (
        "no list of partitions",
        |run| fs::remove_file(run.0.join("partitions.sha256")).unwrap(),
        "partitions.sha256 is not the list",
    ),
    (
        "clients",
        |run| rechain(run, |lines| edit(lines, "round", "clients", "3")),
        "round 1: the ledger says 3 clients ",
    ),
    (
        "participants",
        |run| rechain(run, |lines| edit(lines, "round", "participants", "[0,1,2,3")),
        "in the ledger are not of those sampled",
    ),
    (
        "participants twice",
        |run| rechain(run, |lines| edit(lines, "round", "participants", "[0,0,0")),
        "in the ledger are not of those sampled",
    ),
    (
        "more in a line",
        |run| rechain(run, |lines| edit(lines, "round", "failed", "0,\"best\":0.99")),
        "a line with more in it than a run writes",
    ),
    (
        "no line on the data",
        |run| rechain(run, |lines| lines.retain(|line| !line.starts_with("{\"event\":\"dealt\""))),
        "the ledger lacks the line on the data",
    ),
    ("more in the summary", |run| replace(run, "summary.json", "{", "{\"best\": 0.99,"), "is not the result"),
    ("dataset", |run| rechain(run, |lines| edit(lines, "dealt", "sha256", HASH)), "the content of "),
    ("sizes", |run| rechain(run, |lines| edit(lines, "dealt", "sizes", "[499")), "client 0 has "),
    ("version", |run| rechain(run, |lines| edit(lines, "ready", "version", "\"9\"")), "the model is\n  here: "),
    (
        "initial weights",
        |run| rechain(run, |lines| edit(lines, "ready", "weights_sha256", HASH)),
        "the initial weights are\n  here: ",
    ),
    (
        "dylib's hash",
        |run| rechain(run, |lines| edit(lines, "ready", "dylib_sha256", HASH)),
        "model.so has the SHA-256 ",
    ),
    ("seed", |run| rechain(run, |lines| edit(lines, "started", "seed", "7")), "in the ledger are not of those sampled"),
    (
        "the result in the last line",
        |run| rechain(run, |lines| edit(lines, "finished", "accuracy", "0.99")),
        "summary.json is not the result",
    ),
    (
        "the result everywhere",
        |run| {
            rechain(run, |lines| edit(lines, "finished", "rounds", "4"));
            replace(run, "summary.json", "\"rounds\": 3", "\"rounds\": 4");
        },
        "the result does not follow",
    ),
    (
        "the loss of the initial weights everywhere",
        |run| {
            rechain(run, |lines| {
                edit(lines, "initial_score", "loss", "3.5");
                edit(lines, "finished", "initial_loss", "3.5");
            });
            let loss = run.summary()["initial_loss"].to_string();
            replace(run, "summary.json", &format!("\"initial_loss\": {loss}"), "\"initial_loss\": 3.5");
        },
        "the test loss of the initial weights is\n  here: ",
    ),
    (
        "no line on the initial weights",
        |run| rechain(run, |lines| lines.retain(|line| !line.starts_with("{\"event\":\"initial_score\""))),
        "the ledger lacks the line on the score of the initial weights",
    ),
    (
        "the accuracy of the initial weights",
        |run| rechain(run, |lines| edit(lines, "initial_score", "accuracy", "0.5")),
        "the result does not follow",
    ),
    (
        "what follows from it everywhere",
        |run| {
            rechain(run, |lines| edit(lines, "finished", "loss_fell", "false"));
            replace(run, "summary.json", "\"loss_fell\": true", "\"loss_fell\": false");
        },
        "the result does not follow",
    ),
    (
        "the end everywhere",
        |run| {
            rechain(run, |lines| edit(lines, "finished", "stopped", "\"converged\""));
            replace(run, "summary.json", "\"rounds\"\n", "\"converged\"\n");
        },
        "the result does not follow",
    ),
    ("the last line cut", |run| rechain(run, |lines| lines.truncate(lines.len() - 1)), "an end that the ledger lacks"),
    ("a round cut", |run| rechain(run, |lines| lines.truncate(lines.len() - 2)), "an end that the ledger lacks"),
    (
        "a checkpoint after the cut",
        |run| {
            replace(run, "ledger.jsonl", "{\"event\":\"finished\"", "");
            fs::remove_file(run.0.join("summary.json")).unwrap();
            let text = String::from_utf8(run.read("ledger.jsonl")).unwrap();
            let cut: Vec<&str> = text.lines().filter(|line| !line.contains("\"round\":3,")).collect();
            fs::write(run.0.join("ledger.jsonl"), cut[..cut.len() - 1].join("\n") + "\n").unwrap();
        },
        "the checkpoint 000003-",
    ),
    (
        "summary",
        |run| replace(run, "summary.json", "\"accuracy\": 0.", "\"accuracy\": 0.9"),
        "summary.json is not the result",
    ),
    ("summary as text", |run| replace(run, "summary.json", "{", "["), "summary.json is not the result"),
    (
        "weights' file",
        |run| flip_last_byte(run, "model.safetensors"),
        "model.safetensors does not hold the final weights",
    ),
    ("dylib", |run| flip_last_byte(run, "model.so"), "model.so has the SHA-256 "),
    ("no dylib", |run| fs::remove_file(run.0.join("model.so")).unwrap(), "model.so is missing"),
    (
        "experiment",
        |run| replace(run, "experiment.toml", "lr = 0.1", "lr = 0.2"),
        "experiment.toml is not the experiment",
    ),
    (
        "checkpoint",
        |run| {
            let newest =
                fs::read_dir(run.0.join("checkpoint")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
            flip_last_byte(run, newest.to_str().unwrap());
        },
        "was truncated or altered",
    ),
];

#[test]
fn whatever_was_altered_is_found() {
    let place = Place::new();
    place.run("logreg --rounds 3 --strategy fedavgm --fraction 0.5");
    let whole = place.fedpipe("verify out").output().unwrap();
    let printed = stdout(&whole);
    assert!(
        printed.ends_with("verified: 3 rounds have the same bits\n") && printed.contains("not vouched for: seconds"),
        "{printed}"
    );
    assert!(!printed.contains("an end"), "{printed}");
    let is_value = |line: &str| line.starts_with("  ") && line.len() < 250;
    check_all(ALTERED.iter(), |(name, alter, says)| {
        let copy = Run(place.path(format!("altered {name}")));
        let copied = Command::new("cp").arg("-a").args([&place.path("out"), &copy.0]).status().unwrap();
        assert!(copied.success());
        alter(&copy);
        let output = place.fedpipe("verify").arg(&copy.0).output().unwrap();
        let errors = stderr(&output);
        let is_named = errors.starts_with("error: not verified: ")
            && errors.contains(says)
            && errors.lines().skip(1).all(is_value);
        if output.status.code() == Some(7) && is_named && !stdout(&output).contains("verified:") {
            Ok(())
        } else {
            Err(format!("{}: {errors}{}", output.status, stdout(&output)))
        }
    });
}

#[test]
fn results_that_are_missing_are_named_and_a_pipe_is_none() {
    let place = Place::new();
    let run = place.run("logreg --rounds 2");
    for name in ["summary.json", "model.safetensors"] {
        fs::remove_file(run.0.join(name)).unwrap();
    }
    fs::remove_dir_all(run.0.join("checkpoint")).unwrap();
    let printed = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(printed.ends_with("verified: 2 rounds have the same bits\n"), "{printed}");
    for name in ["summary.json", "model.safetensors", "checkpoint"] {
        assert!(printed.contains(&format!("not vouched for: {name}, which is missing\n")), "{printed}");
    }
    assert!(Command::new("mkfifo").arg(run.0.join("summary.json")).status().unwrap().success());
    let output = place.fedpipe("verify out").output().unwrap();
    assert!(output.status.code() == Some(5) && stderr(&output).contains("no regular file"), "{}", stderr(&output));
}

#[test]
fn a_run_that_continues_is_not_verified() {
    let place = Place::new();
    fs::write(place.path("marks/round-1"), "").unwrap();
    let mut live = Live::start(&place, "misbehaving --jobs 4 --rounds 2 --model-option hold=marks");
    live.await_held(4, 2);
    let output = place.fedpipe("verify out").output().unwrap();
    assert!(output.status.code() == Some(5) && stderr(&output).contains("at work in out"), "{}", stderr(&output));
    live.mark("round-2");
    assert!(live.end().0.success());
}

/// A forced resume that ends or is killed at its start has changed the run and removed nothing of it.
#[test]
fn a_forced_resume_that_fails_at_its_start_is_followed() {
    let place = Place::new();
    let run = place.run("logreg --rounds 2");
    let toml = run.read("experiment.toml");
    let resume = |more: &str| {
        let output = place.fedpipe(&format!("run --resume out {more}")).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, printed) = resume("--rounds 3 --strategy fedavgm --force --client-timeout 0.001 --on-failure abort");
    assert_ne!(code, Some(0), "{printed}");
    let verify = || place.fedpipe("verify out").output().unwrap();
    assert!(stdout(&verify()).ends_with("verified: 2 rounds have the same bits\n"), "{}", stderr(&verify()));
    // This is the state after a kill between the ledger and this file.
    fs::write(run.0.join("experiment.toml"), toml).unwrap();
    assert!(stdout(&verify()).ends_with("verified: 2 rounds have the same bits\n"), "{}", stderr(&verify()));
    assert_eq!(resume(""), (Some(0), String::new()));
    assert_eq!(run.summary()["strategy"].as_str().unwrap().split(':').next(), Some("fedavgm"));
    assert!(stdout(&verify()).ends_with("verified: 3 rounds have the same bits\n"), "{}", stderr(&verify()));
}

#[test]
fn a_run_without_an_end_is_verified_as_far_as_it_goes_and_says_so() {
    let place = Place::new();
    // The learning rate of a round depends on the third one, and only the third one scores the clients.
    let run = place.run("logreg --rounds 3 --lr-schedule cosine --holdout 0.2 --evaluate-every 3");
    rechain(&run, |lines| lines.truncate(lines.len() - 2));
    for name in ["summary.json", "model.safetensors", "result.png"] {
        fs::remove_file(run.0.join(name)).unwrap();
    }
    let output = place.fedpipe("verify out").output().unwrap();
    let printed = stdout(&output);
    assert!(output.status.success() && printed.ends_with("verified: 2 rounds have the same bits\n"), "{printed}");
    assert!(
        printed.contains("not vouched for: an end: the ledger has none, and later rounds may have been cut off"),
        "{printed}"
    );
}

#[test]
fn a_verification_that_is_stopped_says_how_far_it_came() {
    let place = Place::new();
    for round in 1..=3 {
        fs::write(place.path(format!("marks/round-{round}")), "").unwrap();
    }
    place.run("misbehaving --rounds 3 --model-option hold=marks");
    fs::remove_file(place.path("marks/round-2")).unwrap();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut verify = place.fedpipe("verify out");
        let mut verify = verify.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(verify.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("round 1: the same bits"), "{line}");
        kill(Pid::from_raw(verify.id().cast_signed()), signal).unwrap();
        let output = verify.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(stderr(&output), "not verified: 1 of 3 rounds compared\n");
    }
}

/// A forced change is part of the history: later resumes keep it, and a verification repeats it.
#[test]
fn a_forced_change_is_followed() {
    let place = Place::new();
    let run = place.run("logreg --rounds 2 --strategy fedadam");
    let resume = |more: &str| {
        let output = place.fedpipe(&format!("run --resume out {more}")).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, printed) = resume("--rounds 4 --lr 0.5 --force");
    assert_eq!(code, Some(0), "{printed}");
    let forced = run.ledger("resumed")[0]["forced"].to_string();
    assert_eq!(forced, r#"["rounds is 4, was 2","local.lr is 0.5, was 0.1"]"#);
    assert_eq!(resume(""), (Some(0), String::new()));
    let (code, printed) = resume("--rounds 2");
    assert!(code == Some(2) && printed.contains("rounds is 2, was 4"), "{printed}");
    let (code, printed) = resume("--rounds 5 --seed 3 --clients 5 --force");
    assert_eq!(code, Some(0), "{printed}");
    // A resume with more rounds needs no force.
    let (code, printed) = resume("--rounds 6");
    assert_eq!(code, Some(0), "{printed}");
    let output = place.fedpipe("verify out").output().unwrap();
    assert!(stdout(&output).ends_with("verified: 6 rounds have the same bits\n"), "{}", stderr(&output));

    // The verification compares the change, too.
    replace(&run, "experiment.toml", "lr = 0.5", "lr = 0.1");
    let output = place.fedpipe("verify out").output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
}

#[test]
fn a_dylib_that_was_replaced_by_force_is_named() {
    let place = Place::new();
    let run = place.run("logreg --rounds 2");
    let mut other = fs::read(dylib("logreg")).unwrap();
    other.push(0);
    fs::write(run.0.join("model.so"), other).unwrap();
    let output = place.fedpipe("run --resume out --rounds 3 --force").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(place.fedpipe("run --resume out").output().unwrap().status.success());
    let output = place.fedpipe("verify out").output().unwrap();
    let printed = stderr(&output);
    assert!(output.status.code() == Some(2) && printed.contains("a forced resume replaced the dylib"), "{printed}");
}
