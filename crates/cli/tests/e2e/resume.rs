//! A killed run resumes with the same bits. Files that were altered meanwhile are found.

use std::{fs, path::PathBuf, process::Stdio};

use crate::{
    common::{Place, Run, check_all, dylib, eventually, stderr, stdout},
    idx,
    live::Live,
};

const ARGUMENTS: &str = "logreg --rounds 12 --strategy fedavgm --jobs 2";

fn killed_after(place: &Place, rounds: usize, out: &str) -> Run {
    killed_in_round(place, ARGUMENTS, rounds, out)
}

/// Starts a run and kills its host as soon as the ledger has `rounds` rounds.
pub(crate) fn killed_in_round(place: &Place, arguments: &str, rounds: usize, out: &str) -> Run {
    let (mut command, run) = place.command(&format!("{arguments} --out {out}"));
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the ledger has enough rounds", || {
        let text = fs::read_to_string(run.0.join("ledger.jsonl")).unwrap_or_default();
        (text.contains("started") && text.matches("\"event\":\"round\"").count() >= rounds).then_some(())
    });
    host.kill().unwrap();
    host.wait().unwrap();
    run
}

fn resume(place: &Place, run: &Run, more: &str) -> (Option<i32>, String) {
    let output = place.fedpipe(&format!("run --resume {} {more}", run.0.display())).output().unwrap();
    (output.status.code(), stdout(&output) + &stderr(&output))
}

fn checkpoints(run: &Run) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(run.0.join("checkpoint")).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn an_altered_checkpoint_is_refused_by_name_and_the_one_before_is_used() {
    let place = Place::new();
    let undisturbed = place.run(&format!("{ARGUMENTS} --out undisturbed")).weights_sha256();
    let run = killed_after(&place, 6, "killed");
    let newest = checkpoints(&run).pop().unwrap();
    let whole = fs::read(&newest).unwrap();
    fs::write(&newest, &whole[..whole.len() / 2]).unwrap();
    let (code, printed) = resume(&place, &run, "");
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert!(code == Some(0) && printed.contains(name) && printed.contains("truncated or altered"), "{printed}");
    assert_eq!(run.weights_sha256(), undisturbed);
}

#[test]
fn another_experiment_or_dylib_is_refused_with_what_differs_unless_forced() {
    let place = Place::new();
    let run = killed_after(&place, 2, "killed");
    let (code, printed) = resume(&place, &run, "--lr 0.2");
    assert!(code == Some(2) && printed.contains("lr is 0.2, was 0.1") && printed.contains("--force"), "{printed}");
    let (code, printed) = resume(&place, &run, "--rounds 13 --force");
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(run.ledger("resumed")[0]["forced"][0], "rounds is 13, was 12");

    let mut model = run.read("model.so");
    model.push(0);
    fs::write(run.0.join("model.so"), model).unwrap();
    let (code, printed) = resume(&place, &run, "--rounds 13");
    assert!(code == Some(2) && printed.contains("cannot be resumed"), "{printed}");
}

#[test]
fn another_dataset_is_refused_with_what_differs_unless_forced() {
    let place = Place::new();
    idx::write(&place.path("set"));
    let (mut command, run) = place.command("logreg --data set --rounds 1000");
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the run has begun", || {
        let text = fs::read_to_string(run.0.join("ledger.jsonl")).unwrap_or_default();
        (text.matches("\"event\":\"round\"").count() >= 2).then_some(())
    });
    host.kill().unwrap();
    host.wait().unwrap();
    let mut labels = idx::labels(60);
    labels.swap(8, 9);
    fs::write(place.path("set").join(idx::FILES[1]), labels).unwrap();
    let (code, printed) = resume(&place, &run, "");
    assert!(code == Some(2) && printed.contains("the dataset is ") && printed.contains("--force"), "{printed}");
    let (code, printed) = resume(&place, &run, "--force");
    assert_eq!(code, Some(0), "{printed}");
    assert!(run.ledger("resumed")[0]["forced"][0].as_str().unwrap().starts_with("the dataset is "));
}

#[test]
fn a_run_is_verified_and_an_edited_ledger_is_found() {
    let place = Place::new();
    let run = place.run("logreg --rounds 3 --partition shards:2");
    let verify = || place.fedpipe("verify out").output().unwrap();
    let printed = stdout(&verify());
    assert!(printed.ends_with("verified: 3 rounds have the same bits\n"), "{printed}");

    let text = String::from_utf8(run.read("ledger.jsonl")).unwrap();
    let edited = text.replacen("\"accuracy\":0.", "\"accuracy\":1.", 1);
    assert_ne!(text, edited);
    fs::write(run.0.join("ledger.jsonl"), edited).unwrap();
    let output = verify();
    assert!(output.status.code() == Some(5) && stderr(&output).contains("was edited"), "{}", stderr(&output));
}

#[test]
fn a_reload_needs_a_run_that_continues() {
    let place = Place::new();
    place.run("logreg --rounds 1");
    let output = place.fedpipe("reload out").output().unwrap();
    assert!(output.status.code() == Some(2) && stderr(&output).contains("no run is under way"), "{}", stderr(&output));
}

/// Returns a run that reloaded its dylib and was killed some rounds later.
fn killed_after_a_reload(place: &Place) -> Run {
    let path = place.path("model.so");
    fs::copy(dylib("logreg"), &path).unwrap();
    let (mut command, run) = place.command("./model.so --rounds 300 --jobs 2");
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ledger = || fs::read_to_string(run.0.join("ledger.jsonl")).unwrap_or_default();
    let rounds = |text: &str| text.matches("\"event\":\"round\"").count();
    eventually("the run has begun", || (rounds(&ledger()) >= 2).then_some(()));
    // The file differs, but the model is the same: nothing reads the bytes after the sections of an ELF file.
    let mut other = fs::read(&path).unwrap();
    other.push(0);
    fs::write(place.path("other.so"), other).unwrap();
    fs::rename(place.path("other.so"), &path).unwrap();
    assert!(place.fedpipe("reload out").output().unwrap().status.success());
    eventually("rounds with the other dylib", || {
        let text = ledger();
        let (_, later) = text.split_once("\"event\":\"reloaded\"")?;
        // A checkpoint may be up to three rounds behind: one is written, one waits, and the ledger is a line ahead.
        (rounds(later) >= 4).then_some(())
    });
    host.kill().unwrap();
    host.wait().unwrap();
    run
}

fn taken_later(run: &Run) -> usize {
    let names = fs::read_dir(&run.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("model-from-")).count()
}

#[test]
fn a_resume_continues_with_the_reloaded_dylib() {
    let place = Place::new();
    let run = killed_after_a_reload(&place);
    let (code, printed) = resume(&place, &run, "");
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!((taken_later(&run), run.ledger("reloaded").len()), (1, 1));
    let printed = stdout(&place.fedpipe("verify out").output().unwrap());
    assert!(printed.ends_with("verified: 300 rounds have the same bits\n"), "{printed}");
}

#[test]
fn a_reloaded_dylib_that_is_not_the_one_of_the_ledger_is_refused() {
    let place = Place::new();
    let run = killed_after_a_reload(&place);
    let round = run.ledger("reloaded")[0]["round"].as_u64().unwrap();
    let name = format!("model-from-{round:06}.so");
    let whole = run.read(&name);
    let verify = || place.fedpipe("verify out").output().unwrap();
    // The cases: the model before the reload, another model that works, and none.
    for other in [Some(run.read("model.so")), Some(fs::read(dylib("mlp")).unwrap()), None] {
        let path = run.0.join(&name);
        match &other {
            Some(other) => fs::write(&path, other).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let ledger = run.read("ledger.jsonl");
        for more in ["", "--force"] {
            let (code, printed) = resume(&place, &run, more);
            assert!(code == Some(5) && printed.contains(&name) && printed.contains("put the file back"), "{printed}");
        }
        assert_eq!(run.read("ledger.jsonl"), ledger, "the ledger is kept");
        let output = verify();
        assert!(output.status.code() == Some(7) && stderr(&output).contains(&name), "{}", stderr(&output));
    }
    fs::write(run.0.join(&name), whole).unwrap();
    assert_eq!(resume(&place, &run, "").0, Some(0));
    assert!(stdout(&verify()).ends_with("verified: 300 rounds have the same bits\n"));
}

#[test]
fn a_reload_that_the_ledger_no_longer_has_is_forgotten() {
    let place = Place::new();
    let run = killed_after_a_reload(&place);
    fs::remove_dir_all(run.0.join("checkpoint")).unwrap();
    let (code, printed) = resume(&place, &run, "");
    assert!(code == Some(0) && printed.contains("reload it again"), "{printed}");
    assert_eq!((taken_later(&run), run.ledger("reloaded").len()), (0, 0));
}

#[test]
fn a_finished_run_says_that_it_is_finished_and_how_it_goes_on() {
    let place = Place::new();
    place.run("logreg --rounds 2");
    let resumed = |more: &str| stdout(&place.fedpipe(&format!("run --resume out {more}")).output().unwrap());
    let text = resumed("");
    let says = "the run was finished after 2 rounds, and nothing was done; give --rounds 3 or more to continue it\n";
    assert!(text.contains(says) && !text.contains("continuing"), "{text}");
    let text = resumed("--rounds 3");
    assert!(text.contains("continuing after round 2 of out\n") && !text.contains("was finished"), "{text}");
}

#[test]
fn verify_says_at_which_round_the_bits_part() {
    let place = Place::new();
    fs::create_dir_all(place.path("marks")).unwrap();
    place.run(
        "misbehaving --rounds 4 --model-option fault=nudge --model-option round=3 --model-option armed=marks/armed",
    );
    fs::write(place.path("marks/armed"), "").unwrap();
    let output = place.fedpipe("verify out").output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", stdout(&output));
    assert!(stdout(&output).contains("round 2: the same bits") && !stdout(&output).contains("round 3: the same"));
    let printed = stderr(&output);
    assert!(printed.starts_with("error: ") && printed.contains("round 3"), "{printed}");
}

/// The file of a run's model is overwritten in place by a model of another layout, and a reload is requested.
#[test]
fn a_dylib_that_is_overwritten_disturbs_no_run_and_another_layout_is_refused() {
    let place = Place::new();
    let path = place.path("model.so");
    fs::copy(dylib("logreg"), &path).unwrap();
    let arguments = format!("{} --rounds 300 --jobs 2", path.display());
    let undisturbed = place.run(&format!("{arguments} --out undisturbed")).weights_sha256();
    let (mut command, run) = place.command(&arguments);
    let host = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the run has begun", || {
        let text = fs::read_to_string(run.0.join("ledger.jsonl")).unwrap_or_default();
        (text.matches("\"event\":\"round\"").count() >= 2).then_some(())
    });
    fs::write(&path, fs::read(dylib("mlp")).unwrap()).unwrap();
    assert!(place.fedpipe("reload out").output().unwrap().status.success());
    let output = host.wait_with_output().unwrap();
    let printed = stderr(&output);
    assert!(output.status.success() && printed.contains("the model stays as it is: the model in"), "{printed}");
    let named = format!("{} has another layout: its tensor 0 is ", path.display());
    assert!(printed.contains(&named) && printed.contains(", was "), "{printed}");
    assert!(run.ledger("reload_refused")[0]["reason"].as_str().unwrap().contains(&named));
    assert_eq!(run.weights_sha256(), undisturbed);
}

/// Writes a copy of the dylib `misbehaving` with a built-in fault.
fn with_own_fault(fault: &str) -> Vec<u8> {
    let mut bytes = fs::read(dylib("misbehaving")).unwrap();
    let (before, after) = ("own-fault:none                  ", format!("{:32}", format!("own-fault:{fault}")));
    let places: Vec<usize> =
        bytes.windows(before.len()).enumerate().filter(|(_, w)| *w == before.as_bytes()).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1);
    bytes[places[0]..][..after.len()].copy_from_slice(after.as_bytes());
    bytes
}

#[test]
fn a_reloaded_dylib_that_fails_in_its_first_round_gives_way_to_the_one_before() {
    let cases = [
        ("panic", "train", "--on-failure retry", "the model panicked: as it was told, the model panics"),
        ("panic", "evaluate", "--on-failure drop", "the model panicked: as it was told, the model panics"),
        ("segfault", "train", "--on-failure abort", "killed by SIGSEGV"),
        ("panic", "layout", "", "the model panicked: as it was told, the model panics"),
    ];
    check_all(cases, |(fault, at, policy, says)| {
        let place = Place::new();
        let path = place.path("model.so");
        fs::copy(dylib("misbehaving"), &path).unwrap();
        let arguments = format!("./model.so --clients 2 --rounds 4 --model-option at={at} {policy}");
        let undisturbed = place.run(&format!("{arguments} --out undisturbed")).weights_sha256();
        let mut live = Live::start(&place, &format!("{arguments} --jobs 2 --model-option hold=marks"));
        live.await_held(2, 1);
        fs::write(place.path("other.so"), with_own_fault(fault)).unwrap();
        fs::rename(place.path("other.so"), &path).unwrap();
        assert!(place.fedpipe("reload out").output().unwrap().status.success());
        (1..=4).for_each(|round| live.mark(&format!("round-{round}")));
        let run = live.run.clone();
        let (status, errors) = live.end();
        let refused = run.ledger("reload_refused");
        let [line] = &refused[..] else { return Err(format!("{refused:?} {errors}")) };
        let is_named =
            errors.contains("warning: the model stays as it is: ") && line["reason"].as_str().unwrap().contains(says);
        let same = run.weights_sha256() == undisturbed && taken_later(&run) == 0;
        let verified = stdout(&place.fedpipe("verify out").output().unwrap());
        if status.success() && is_named && same && verified.ends_with("verified: 4 rounds have the same bits\n") {
            Ok(())
        } else {
            Err(format!("{status} {line} {verified} {errors}"))
        }
    });
}
