//! A standard output or error that refuses writes: a full device, or a pipe without a reader.

use std::{
    fs::File,
    io::{Read, Write, pipe},
    os::unix::net::UnixStream,
    process::{Command, ExitStatus, Stdio},
};

use nix::sys::signal::Signal;

use crate::{
    common::{Place, check_all, stderr},
    serve::{Node, experiment},
};

/// A stream that refuses writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// A full device.
    Full,
    /// A pipe without a reader.
    Closed,
}

impl Sink {
    const ALL: [Sink; 2] = [Sink::Full, Sink::Closed];

    fn open(self) -> Stdio {
        match self {
            Sink::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Sink::Closed => pipe().unwrap().1.into(),
        }
    }
}

fn with_both(mut command: Command, sink: Sink) -> ExitStatus {
    command.stdout(sink.open()).stderr(sink.open()).status().unwrap()
}

/// Returns the exit code of a command whose standard output refuses writes, and the text on its standard error.
fn with_output(mut command: Command, sink: Sink) -> (Option<i32>, String) {
    let output = command.stdout(sink.open()).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn an_error_that_nobody_can_read_has_its_exit_code() {
    let place = Place::new();
    place.run("logreg --rounds 1 --out run");
    let errors = [
        ("nonesuch", 2),
        ("run --rounds x", 2),
        ("run", 2),
        ("", 2),
        ("run nonesuch", 3),
        ("run logreg --data nonesuch", 4),
        ("run logreg --data sample --out run", 5),
        ("run logreg --data sample --clients 2001", 4),
        ("run --resume nonesuch", 5),
        ("verify nonesuch", 5),
        ("reload run", 2),
        ("serve --model nonesuch --data nonesuch --socket s", 3),
        ("flower new run logreg", 5),
        ("models --client nonesuch", 3),
        ("data fetch nonesuch", 2),
    ];
    let cases = errors.into_iter().flat_map(|(arguments, code)| Sink::ALL.map(|sink| (arguments, code, sink)));
    check_all(cases, |&(arguments, code, sink)| match with_both(place.fedpipe(arguments), sink).code() {
        Some(found) if found == code => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// The result of a run is its directory, so that the run continues without a screen.
#[test]
fn a_run_that_nobody_can_read_is_a_good_run() {
    for sink in Sink::ALL {
        let place = Place::new();
        // There is a warning about the client that crashed.
        let fault = "misbehaving --clients 2 --rounds 2 --model-option fault=panic --model-option client=1 \
            --model-option round=1 --on-failure drop";
        let (command, run) = place.command(fault);
        let status = with_both(command, sink);
        assert_eq!(status.code(), Some(0), "{sink:?}");
        assert_eq!((run.ledger("round").len(), run.ledger("client_crashed").len()), (2, 1), "{sink:?}");
        assert!(run.0.join("result.png").exists(), "{sink:?}");
    }
}

/// A run that ends with an error has the exit code of the error.
#[test]
fn a_run_that_nobody_can_read_and_that_fails_has_its_own_exit_code() {
    for sink in Sink::ALL {
        let place = Place::new();
        let fault = "misbehaving --clients 2 --rounds 2 --model-option fault=panic --model-option round=1 \
            --on-failure abort";
        assert_eq!(with_both(place.command(fault).0, sink).code(), Some(6), "{sink:?}");
    }
}

#[test]
fn a_result_that_nobody_can_read_is_an_error_and_a_reader_that_is_gone_is_none() {
    let place = Place::new();
    place.run("logreg --rounds 1 --out run");
    const SAYS: &str = "error: cannot write to standard output: No space left on device (os error 28)\n";
    let results =
        ["models", "verify run", "flower new app logreg", "--help", "run --help", "--version", "data fetch --help"];
    check_all(results, |arguments| {
        let full = with_output(place.fedpipe(arguments), Sink::Full);
        if full != (Some(1), SAYS.to_owned()) {
            return Err(format!("{full:?}"));
        }
        let _ = std::fs::remove_dir_all(place.path("app"));
        let closed = with_output(place.fedpipe(arguments), Sink::Closed);
        if closed == (Some(0), String::new()) { Ok(()) } else { Err(format!("{closed:?}")) }
    });
    // If the error cannot be printed, only its exit code is left.
    assert_eq!(with_both(place.fedpipe("models"), Sink::Full).code(), Some(1));
}

#[test]
fn a_node_serves_on_though_nobody_can_read_its_warnings() {
    for sink in Sink::ALL {
        let place = Place::new();
        experiment(&place, "model = \"logreg\"\nclients.count = 1\nrounds = 1");
        let node = Node::silent(&place, 0, sink.open(), sink.open());
        for _ in 0..2 {
            let mut junk = UnixStream::connect(&node.socket).unwrap();
            junk.write_all(b"GET / HTTP/1.1\r\n\r\n0123456789").unwrap();
            // The node ends the connection before it warns, and accepts the next connection after that.
            let _ = junk.read_to_end(&mut Vec::new());
        }
        let arguments = format!("run --config experiment.toml --over {} --out away", node.socket.display());
        let output = place.fedpipe(&arguments).output().unwrap();
        assert!(output.status.success(), "{sink:?}: {}", stderr(&output));
        assert!(node.end(Signal::SIGTERM).success(), "{sink:?}");
    }
}
