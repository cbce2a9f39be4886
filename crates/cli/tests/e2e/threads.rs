//! A system that refuses threads.
//!
//! `RUST_MIN_STACK` makes the system refuse every thread that does not set its stack size, with the error of a user or
//! a cgroup that has as many threads as allowed (EAGAIN). The threads that are indispensable set their stack size; a
//! filter of system calls refuses them instead.

use std::{
    os::unix::{fs::symlink, net::UnixListener},
    process::Command,
};

use nix::sys::signal::Signal;

use crate::{
    common::{Place, check_all, stderr},
    live::Live,
    refusing,
    serve::experiment,
};

/// A stack size for which no address space has room.
fn without_threads(command: &mut Command) -> &mut Command {
    command.env("RUST_MIN_STACK", (1_u64 << 60).to_string())
}

#[test]
fn a_run_without_threads_to_spread_work_over_has_the_same_bits() {
    let place = Place::new();
    // There are enough weights and clients to spread an aggregation, and partitions to deal.
    let arguments = "mlp --clients 8 --rounds 2 --model-option hidden=256";
    let usual = place.run(&format!("{arguments} --out usual"));
    let fresh = Place::new();
    let (mut command, run) = fresh.command(arguments);
    let output = without_threads(&mut command).output().unwrap();
    assert!(output.status.success() && stderr(&output).is_empty(), "{}", stderr(&output));
    assert_eq!(run.weights_sha256(), usual.weights_sha256());
    assert!(run.0.join("checkpoint").read_dir().unwrap().count() > 0);
}

#[test]
fn a_run_without_a_thread_for_its_grace_stops_all_the_same() {
    let place = Place::new();
    let (mut command, run) = place.command("misbehaving --clients 2 --rounds 3 --model-option hold=marks");
    without_threads(&mut command);
    let mut live = Live::of(&place, command, run);
    live.await_held(2, 1);
    live.signal(Signal::SIGTERM);
    let (status, errors) = live.end();
    assert_eq!(status.code(), Some(143), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn no_command_panics_without_threads_to_spread_work_over() {
    let place = Place::new();
    place.run("logreg --rounds 1");
    for arguments in ["verify out", "models", "run logreg --resume out --rounds 2 --force"] {
        let output = without_threads(&mut place.fedpipe(arguments)).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}{}", output.status, stderr(&output));
    }
}

#[test]
fn what_cannot_go_on_without_a_thread_names_the_limit() {
    let place = Place::new();
    place.run("logreg --rounds 1");
    experiment(&place, "model = \"logreg\"\nclients.count = 2");
    const SAYS: &str = "error: cannot start the thread that waits for signals: Resource temporarily unavailable \
        (os error 11); raise `ulimit -u` or the cgroup's pids.max\n";
    check_all(["run logreg --data sample --out never", "run --resume out", "verify out"], |arguments| {
        let output = refusing::output(place.fedpipe(arguments), refusing::threads());
        if output.status.code() == Some(1) && stderr(&output) == SAYS {
            Ok(())
        } else {
            Err(format!("{}: {}", output.status, stderr(&output)))
        }
    });
    assert!(!place.path("never").exists());

    // These commands describe the model first, whose process has a thread in the host.
    let says = SAYS.replace("the thread that waits for signals", "client process 0");
    let says = says.replace(".max\n", ".max, or lower --processes\n");
    check_all(["serve --experiment experiment.toml --client 1 --socket s.sock", "models --client true"], |arguments| {
        let output = refusing::output(place.fedpipe(arguments), refusing::threads());
        if output.status.code() == Some(1) && stderr(&output).ends_with(&says) {
            Ok(())
        } else {
            Err(format!("{}: {}", output.status, stderr(&output)))
        }
    });
}

/// A relay needs a thread for each direction.
#[test]
fn a_relay_without_a_second_thread_names_the_limit() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.path("host.sock")).unwrap();
    symlink(place.fedpipe("").get_program(), place.path("fedpipe-relay")).unwrap();
    let mut shell = Command::new("sh");
    // The host's ends of the pipes have nothing to read, and nobody reads them.
    place.settle(&mut shell).args(["-c", "exec ./fedpipe-relay host.sock 3 4 0 3</dev/null 4>/dev/null"]);
    let output = without_threads(&mut shell).output().unwrap();
    let says = "error: cannot start a thread; raise `ulimit -u`, or the cgroup's pids.max: Resource temporarily \
        unavailable (os error 11)\n";
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), says));
}
