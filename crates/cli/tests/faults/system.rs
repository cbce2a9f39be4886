//! Faults of the system: a full disk, a folder that is not writable, no descriptors.
//!
//! A full disk is simulated by a limit on the size of the host's files, which needs no rights and is the same inside
//! and outside of a container, or by /dev/full.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output},
    thread,
};

use nix::sys::signal::Signal;
use rustix::{
    process::{Pid, Resource, Rlimit, geteuid, getrlimit, prlimit},
    thread::{CapabilitySet, remove_capability_from_bounding_set},
};
use serde_json::json;

use crate::{
    Fault,
    common::{Place, stderr, stdout},
    live::Live,
    stage::{Ended, HELD, RUN, Stage, await_nobody, resume, since, undisturbed},
    table::Row,
};

pub(crate) fn faults() -> Vec<Fault> {
    vec![
        ("full-disk-ledger", Box::new(full_disk_ledger)),
        ("full-disk-checkpoint", Box::new(full_disk_checkpoint)),
        ("full-disk-log", Box::new(full_disk_log)),
        ("read-only-folder", Box::new(read_only_folder)),
        ("read-only-run", Box::new(read_only_run)),
        ("no-descriptors-at-start", Box::new(no_descriptors_at_start)),
        ("no-descriptors-later", Box::new(no_descriptors_later)),
    ]
}

/// Sets a limit of the host and returns its previous value.
fn limit(host: i32, resource: Resource, most: Option<u64>) -> Option<u64> {
    // The host inherits the hard limit of this process.
    let Rlimit { maximum, .. } = getrlimit(resource);
    let before = prlimit(Pid::from_raw(host), resource, Rlimit { current: most, maximum });
    before.unwrap_or_else(|error| panic!("a limit of {most:?}: {error}")).current
}

/// Checks that the run ended with code 5 and one sentence, and with complete lines in its ledger; resumes the run.
fn ends_and_continues(place: &Place, ended: &Ended, says: &[&str]) -> Row {
    let Ended { run, status, errors } = ended;
    assert_eq!(status.code(), Some(5), "{errors}");
    let last = errors.lines().last().unwrap();
    assert!(last.starts_with("error: ") && says.iter().all(|part| last.contains(part)), "{last}");
    // Each line parses and is complete.
    assert!(run.read("ledger.jsonl").ends_with(b"\n") && !run.ledger("ready").is_empty());
    assert!(run.ledger("client_crashed").is_empty());
    resume(place, run);
    let happened = format!("cannot write {}, exit code 5; --resume continues", says[0]);
    Row { happened, detected: None, cost: "the round, until the resume".into() }
}

fn full_disk_ledger() -> Row {
    let place = Place::new();
    let stage = Stage::held_in_one(&place, "");
    // There is room for half a line.
    let length = stage.live.run.read("ledger.jsonl").len() as u64;
    limit(stage.live.pid(), Resource::Fsize, Some(length + 100));
    (1..=3).for_each(|round| stage.live.mark(&format!("round-{round}")));
    let remedy = "; raise `ulimit -f`, after which --resume continues";
    ends_and_continues(&place, &stage.end(), &["ledger.jsonl", "File too large", remedy])
}

fn full_disk_checkpoint() -> Row {
    let place = Place::new();
    // The checkpoint is larger than all files before it.
    let large = "--model-option padding=100000";
    let mut live = Live::start(&place, &format!("{RUN} --jobs 4 {HELD} {large}"));
    live.await_held(4, 1);
    limit(live.pid(), Resource::Fsize, Some(100_000));
    (1..=3).for_each(|round| live.mark(&format!("round-{round}")));
    let run = live.run.clone();
    let (status, errors) = live.end();
    await_nobody(&place);
    assert_eq!(status.code(), Some(5), "{errors}");
    let last = errors.lines().last().unwrap();
    assert!(last.starts_with("error: cannot write a checkpoint to ") && last.contains("File too large"), "{last}");
    assert!(last.ends_with("; raise `ulimit -f`, after which --resume continues"), "{last}");
    assert!(fs::read_dir(run.0.join("checkpoint")).unwrap().next().is_none(), "there is a part of a checkpoint");
    let output = place.fedpipe("run --resume out").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(run.weights_sha256(), undisturbed(large));
    let happened = "cannot write the checkpoint, exit code 5; --resume continues".into();
    Row { happened, detected: None, cost: "the rounds since the last checkpoint, until the resume".into() }
}

/// A full disk costs lines of a log, not the run. The host still knows the last of those lines.
fn full_disk_log() -> Row {
    let place = Place::new();
    let fault = "--model-option fault=panic --model-option client=1 --model-option round=1";
    let stage = Stage::held_in_one(&place, &format!("{fault} --model-option armed=marks/armed"));
    stage.live.signal(Signal::SIGKILL);
    (1..=3).for_each(|round| stage.live.mark(&format!("round-{round}")));
    stage.live.mark("armed");
    let Ended { run, .. } = stage.end();
    let log = run.0.join("clients/001.log");
    fs::remove_file(&log).unwrap();
    symlink("/dev/full", log).unwrap();
    let output = place.fedpipe("run --resume out").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let crashes = run.ledger("client_crashed");
    assert_eq!((crashes.len(), &crashes[1]["then"]), (2, &json!("dropped")));
    let words = crashes[1]["last_words"].to_string();
    assert!(words.contains("as it was told, the model panics"), "{words}");
    assert_eq!(run.ledger("round").len(), 3);
    Row {
        happened: "the log ends".into(),
        detected: None,
        cost: "what the client prints, but for its last words".into(),
    }
}

/// The run directory cannot be created.
fn read_only_folder() -> Row {
    let place = Place::new();
    fs::create_dir(place.path("sealed")).unwrap();
    seal(&place.path("sealed"), true);
    let (command, _) = place.command(&format!("{RUN} --out sealed/run"));
    let output = without_override(command, |mut command| command.output().unwrap());
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{errors}");
    assert!(errors.lines().count() == 1 && errors.contains("sealed/run: Permission denied"), "{errors}");
    assert!(errors.contains("--out") && fs::read_dir(place.path("sealed")).unwrap().next().is_none());
    await_nobody(&place);
    // The expected text has no name of a temporary folder.
    let happened = errors["error: ".len()..].split(" (os").next().unwrap().to_owned();
    Row { happened, detected: None, cost: "the run, which never began".into() }
}

/// The run directory becomes read-only in the middle of a run.
fn read_only_run() -> Row {
    let place = Place::new();
    let (command, run) = place.command(&format!("{RUN} --jobs 4 {HELD}"));
    let mut live = without_override(command, |command| Live::of(&place, command, run.clone()));
    live.await_held(4, 1);
    let folders = [run.0.clone(), run.0.join("checkpoint")];
    folders.iter().for_each(|folder| seal(folder, true));
    (1..=3).for_each(|round| live.mark(&format!("round-{round}")));
    let (status, errors) = live.end();
    await_nobody(&place);
    folders.iter().for_each(|folder| seal(folder, false));
    ends_and_continues(&place, &Ended { run, status, errors }, &["cannot write a checkpoint", "Permission denied"])
}

/// Makes a folder read-only, or writable again.
fn seal(folder: &Path, sealed: bool) {
    fs::set_permissions(folder, fs::Permissions::from_mode(if sealed { 0o555 } else { 0o755 })).unwrap();
}

/// Starts a command without root's right to write everywhere.
fn without_override<T: Send>(command: Command, start: impl FnOnce(Command) -> T + Send) -> T {
    // The right is dropped for a thread and its children.
    let thread = || {
        if geteuid().is_root() {
            remove_capability_from_bounding_set(CapabilitySet::DAC_OVERRIDE).unwrap();
        }
        start(command)
    };
    thread::scope(|scope| scope.spawn(thread).join().unwrap())
}

fn no_descriptors_at_start() -> Row {
    let place = Place::new();
    let (command, run) = place.command(RUN);
    let mut shell = Command::new("sh");
    place.settle(&mut shell).args(["-c", r#"ulimit -n 24; exec "$@""#, "sh"]);
    let output: Output = shell.arg(command.get_program()).args(command.get_args()).output().unwrap();
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}{}", stdout(&output));
    assert!(errors.contains("Too many open files") && errors.contains("raise `ulimit -n`"), "{errors}");
    assert!(run.ledger("round").is_empty());
    await_nobody(&place);
    let happened = errors.lines().last().unwrap().replace("error: ", "");
    Row { happened, detected: None, cost: "the run, which never began".into() }
}

/// A process crashed, and no other can be started in its place.
fn no_descriptors_later() -> Row {
    let place = Place::new();
    let mut stage = Stage::held_in_two(&place, "");
    let before = limit(stage.live.pid(), Resource::Nofile, Some(3));
    let start = std::time::Instant::now();
    stage.live.client(1).signal(Signal::SIGKILL);
    let detected = since(start, stage.await_crash("client 1"));
    const SAYS: &str = "the system failed it: cannot start client process 1: Too many open files";
    stage.live.await_said("the loss of what cannot be started", |line| line.contains(SAYS));
    limit(stage.live.pid(), Resource::Nofile, before);
    stage.live.mark("round-2");
    stage.await_whole(0);
    let ended = stage.end();
    ended.is_without_one_update();
    Row { happened: SAYS.into(), detected: Some(detected), cost: "1 update of 1 round".into() }
}
