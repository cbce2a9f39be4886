//! `fedpipe serve`: a client behind a socket.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Child, ExitStatus, Stdio},
};

use fedpipe_protocol::{
    Evaluate, FailureKind, HeldPartition, Isolation, Level, Limits, PROTOCOL, Parts, Predictions, Purpose, Reply,
    Request, Setup, Target, Task, Train, WEIGHTS, feature, read, write,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    common::{Place, check_all, dylib, eventually, sha256, stderr},
    live::{children, descriptors},
};

/// A node. Dropping the value kills the node.
pub(crate) struct Node {
    process: Child,
    pub(crate) socket: PathBuf,
    /// The line in which the node reports what it serves.
    about: String,
}

impl Node {
    /// Serves client `client` of the experiment in `place`.
    pub(crate) fn start(place: &Place, client: u32) -> Self {
        Self::with(place, client, &format!("--experiment experiment.toml --client {client}"))
    }

    /// Serves the files that `arguments` name, as client `client`.
    pub(crate) fn with(place: &Place, client: u32, arguments: &str) -> Self {
        let socket = place.path(format!("{client}.sock"));
        let arguments = format!("serve {arguments} --socket {client}.sock");
        let mut process = place.fedpipe(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut about = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut about).unwrap();
        Self { process, socket, about }
    }

    /// As [`Node::start`], with another standard output and error.
    pub(crate) fn silent(place: &Place, client: u32, output: Stdio, errors: Stdio) -> Self {
        let socket = place.path(format!("{client}.sock"));
        let arguments = format!("serve --experiment experiment.toml --client {client} --socket {client}.sock");
        let process = place.fedpipe(&arguments).stdout(output).stderr(errors).spawn().unwrap();
        eventually("the node's socket", || UnixStream::connect(&socket).ok());
        Self { process, socket, about: String::new() }
    }

    fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// Returns the client process behind the node.
    fn client(&self) -> i32 {
        let clients = children(self.pid());
        assert_eq!(clients.len(), 1, "{clients:?}");
        clients[0].0
    }

    /// Returns the output of its client; the node has the file open.
    fn log(&self) -> String {
        let files = descriptors(self.pid()).into_iter().filter(|(_, target)| target.ends_with("/000.log"));
        files.filter_map(|(_, path)| fs::read_to_string(path).ok()).collect()
    }

    pub(crate) fn end(mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The host's end of a connection.
struct Visit(UnixStream);

impl Visit {
    fn to(node: &Node, setup: &Setup) -> (Self, Reply) {
        let mut visit = Self(UnixStream::connect(&node.socket).unwrap());
        assert!(matches!(visit.hear().0, Reply::Hello { protocol: PROTOCOL }));
        visit.say(&Request::Setup(setup.clone()), None);
        let ready = visit.hear().0;
        (visit, ready)
    }

    fn say(&mut self, request: &Request, weights: Option<&[f32]>) {
        let weights = weights.map(|weights| fedpipe_protocol::Part::F32(WEIGHTS, weights));
        write(&mut self.0, request, weights.as_slice()).unwrap();
    }

    fn hear(&mut self) -> (Reply, Parts) {
        read(&mut self.0, Limits::reply(1 << 24)).unwrap()
    }

    fn weights(&mut self) -> Vec<f32> {
        self.say(&Request::GetWeights, None);
        self.hear().1.take_f32(WEIGHTS).unwrap()
    }
}

pub(crate) fn experiment(place: &Place, text: &str) {
    fs::write(place.path("experiment.toml"), format!("format = 2\ndata.source = \"sample\"\n{text}")).unwrap();
}

/// Returns the setup of a host elsewhere, whose paths mean nothing here.
fn setup(options: &[(&str, &str)]) -> Setup {
    let partitions = vec![HeldPartition { client: 1, path: "/elsewhere".into(), sha256: None }];
    Setup {
        dylib: None,
        dylib_sha256: None,
        test_sha256: None,
        options: options.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        isolation: Isolation { level: Level::Auto, memory_limit: None, cpu_seconds: None },
        seed: 0,
        init_seed: None,
        purpose: Purpose::Serve {
            task: Task { shape: vec![28, 28], target: Target::Classes(10) },
            partitions,
            test: "/elsewhere".into(),
        },
    }
}

fn train() -> Request {
    Request::Train(Train::plain(1, 1))
}

/// A run that follows another one on the same node begins as the first one did.
#[test]
fn the_weights_before_a_run_are_the_initial_ones_whatever_was_trained_before() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2");
    let node = Node::start(&place, 1);
    let (mut visit, _) = Visit::to(&node, &setup(&[]));
    let initial = visit.weights();
    let update = |visit: &mut Visit| {
        visit.say(&train(), Some(&initial));
        visit.hear().1.take_f32(WEIGHTS).unwrap()
    };
    let trained = update(&mut visit);
    assert!(trained != initial && visit.weights() == initial);
    assert!(update(&mut visit) == trained);
    drop(visit);
    let (mut visit, _) = Visit::to(&node, &setup(&[]));
    assert!(visit.weights() == initial);
}

/// Half of the 1,000 examples is held out, which is one block.
#[test]
fn a_node_evaluates_the_held_out_examples_of_its_client() {
    let place = Place::new();
    experiment(&place, "data.holdout = 0.5\nmodel = \"logreg\"\nclients.count = 2");
    let node = Node::start(&place, 1);
    let (mut visit, ready) = Visit::to(&node, &setup(&[]));
    let Reply::Ready(ready) = ready else { panic!("{ready:?}") };
    assert!(ready.features.iter().any(|name| name == feature::EVALUATE_PARTITION), "{:?}", ready.features);
    assert_eq!((ready.examples, ready.held_out), (vec![500], vec![500]));
    let weights = visit.weights();
    let evaluate = |client| Request::Evaluate(Evaluate { client: Some(client), ..Evaluate::test(vec![0]) });
    visit.say(&evaluate(1), Some(&weights));
    let (Reply::Evaluated { blocks }, _) = visit.hear() else { panic!("no sums") };
    assert_eq!(blocks.iter().map(|sums| (sums.block, sums.examples)).collect::<Vec<_>>(), [(0, 500)]);
    // All weights of logreg start at 0, so that each of the ten classes has the same probability.
    assert!((blocks[0].loss_sum / 500.0 - 10_f64.ln()).abs() < 1e-6, "{}", blocks[0].loss_sum);
    visit.say(&evaluate(0), Some(&weights));
    let (Reply::Failed { message, .. }, _) = visit.hear() else { panic!("the partition of another client") };
    assert_eq!(message, "this client does not hold the partition of client 0");
    let (mut visit, _) = Visit::to(&node, &setup(&[]));
    for predictions in [Predictions::Confusion, Predictions::Scores] {
        let asked = Evaluate { predictions: Some(predictions), ..Evaluate::held_out(1, 500) };
        visit.say(&Request::Evaluate(asked), Some(&weights));
        let (Reply::Failed { message, .. }, _) = visit.hear() else { panic!("the predictions for own examples") };
        assert_eq!(message, "predictions for held-out examples, which leave this node as sums alone");
        visit = Visit::to(&node, &setup(&[])).0;
    }
}

#[test]
fn the_process_outlives_its_visitors_and_ends_with_the_node() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2");
    let node = Node::start(&place, 1);
    let hash = sha256(&fs::read(dylib("mlp")).unwrap());
    assert_eq!(node.about, format!("serving mlp 0.1.0 (SHA-256 {hash}) with 1000 examples on 1.sock\n"));

    let (mut visit, ready) = Visit::to(&node, &setup(&[]));
    assert!(matches!(ready, Reply::Ready(_)), "{ready:?}");
    let weights = visit.weights();
    let client = node.client();
    drop(visit);

    // Another visitor, which knows the node's dylib, gets the same process, and the update that a fresh one would give.
    let known = Setup { dylib_sha256: Some(hash), ..setup(&[]) };
    let updates = [known.clone(), known].map(|setup| {
        let (mut visit, _) = Visit::to(&node, &setup);
        visit.say(&train(), Some(&weights));
        let (reply, mut parts) = visit.hear();
        assert!(matches!(&reply, Reply::Update(update) if update.examples == 1000), "{reply:?}");
        visit.say(&Request::Evaluate(Evaluate::test(vec![0])), Some(&weights));
        assert!(matches!(visit.hear().0, Reply::Evaluated { blocks } if blocks[0].examples == 500));
        (reply, parts.take_f32(WEIGHTS))
    });
    assert_eq!(updates[0], updates[1]);
    assert_eq!(node.client(), client);

    // The process still has the weights of the visitor before, which no other visitor can use.
    let (mut visit, ready) = Visit::to(&node, &setup(&[]));
    assert!(matches!(ready, Reply::Ready(ready) if !ready.features.contains(&feature::KEEPS_WEIGHTS.to_owned())));
    visit.say(&train(), None);
    let (reply, _) = visit.hear();
    assert!(matches!(&reply, Reply::Failed { message, .. } if message.contains("no part \"weights\"")), "{reply:?}");

    // A visitor that asks for another model gets another process.
    let (mut visit, _) = Visit::to(&node, &setup(&[("hidden", "8")]));
    assert_eq!(visit.weights().len(), 784 * 8 + 8 + 8 * 10 + 10);
    assert_ne!(node.client(), client);

    let socket = node.socket.clone();
    assert!(socket.exists());
    // The same holds while a visitor sends nothing.
    assert!(node.end(Signal::SIGTERM).success());
    assert!(!socket.exists());
    assert_eq!(visit.0.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_death_is_an_answer_at_once_and_the_next_visitor_gets_a_fresh_process() {
    let place = Place::new();
    experiment(&place, "model = \"misbehaving\"\nclients.count = 2");
    let node = Node::start(&place, 1);
    let (mut visit, ready) = Visit::to(&node, &setup(&[("hold", "marks")]));
    assert!(matches!(ready, Reply::Ready(_)), "{ready:?}");
    let (weights, client) = (visit.weights(), node.client());
    visit.say(&train(), Some(&weights));
    eventually("the client trains", || node.log().contains("held for client 1 in round 1\n").then_some(()));
    kill(Pid::from_raw(client), Signal::SIGKILL).unwrap();
    let (reply, _) = visit.hear();
    assert!(matches!(&reply, Reply::Failed { message, .. } if message == "killed by SIGKILL"), "{reply:?}");
    assert_eq!(visit.0.read(&mut [0]).unwrap(), 0);

    let (mut visit, ready) = Visit::to(&node, &setup(&[("hold", "marks")]));
    assert!(matches!(ready, Reply::Ready(_)), "{ready:?}");
    assert_eq!(visit.weights(), weights);
    assert_ne!(node.client(), client);
}

#[test]
fn what_the_run_and_the_node_disagree_on_is_named() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2");
    let node = Node::start(&place, 1);
    let other = Setup { dylib_sha256: Some("00ff".into()), ..setup(&[]) };
    let other_test = Setup { test_sha256: Some("00ff".into()), ..setup(&[]) };
    let mut other_partition = setup(&[]);
    if let Purpose::Serve { partitions, .. } = &mut other_partition.purpose {
        partitions[0].sha256 = Some("00ff".into());
    }
    let mut two = setup(&[]);
    if let Purpose::Serve { partitions, .. } = &mut two.purpose {
        partitions.push(HeldPartition { client: 3, path: "/elsewhere".into(), sha256: None });
    }
    let mut shape = setup(&[]);
    if let Purpose::Serve { task, .. } = &mut shape.purpose {
        task.shape = vec![3];
    }
    let own = sha256(&fs::read(dylib("mlp")).unwrap());
    let hashes = format!("this node has the model mlp with SHA-256 {own}, the run's is 00ff; install the same dylib");
    let refused = FailureKind::Refused;
    let data = FailureKind::Data;
    let cases = [
        (other, refused, hashes.as_str()),
        (other_test, data, "the run's is 00ff; give it the same test set"),
        (other_partition, data, "that of the run's client 1 is 00ff; give it that client's partition"),
        (two, refused, "this node has one partition, asked for are 2"),
        (setup(&[("depth", "3")]), refused, "model mlp has no option \"depth\""),
        (shape, data, "has examples of shape [28, 28], the task says [3]"),
    ];
    check_all(cases, |(setup, expected_kind, expected)| match Visit::to(&node, setup).1 {
        Reply::Failed { kind, message } if kind == *expected_kind && message.contains(expected) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // None of these visitors harmed the next one; nor does one that speaks another protocol.
    UnixStream::connect(&node.socket).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(Visit::to(&node, &setup(&[])).1, Reply::Ready(_)));
}

#[test]
fn bad_arguments_of_serve_are_one_sentence() {
    let place = Place::new();
    experiment(&place, "model = \"mlp\"\nclients.count = 2");
    fs::write(place.path("text"), "a text").unwrap();
    let _taken = UnixListener::bind(place.path("taken")).unwrap();
    let long = format!("serve --experiment experiment.toml --client 0 --socket {}", "x".repeat(108));
    let cases = [
        ("serve --model mlp --partition text --socket s", 2, "--test"),
        ("serve --model mlp --socket s", 2, "--partition"),
        ("serve --experiment experiment.toml --socket s", 2, "--client"),
        ("serve --experiment experiment.toml --client 2 --socket s", 2, "--client is 2; the experiment's clients are"),
        ("serve --experiment experiment.toml --client 0 --client-timeout 0 --socket s", 2, "--client-timeout is 0"),
        ("serve --experiment text --client 0 --socket s", 2, "cannot use text"),
        ("serve --experiment experiment.toml --client 0 --model nonesuch --socket s", 3, "\"nonesuch\""),
        ("serve --model mlp --partition text --test text --socket s", 4, "text"),
        ("serve --experiment experiment.toml --client 0 --socket text", 2, "text is there and is no socket"),
        ("serve --experiment experiment.toml --client 0 --socket taken", 2, "taken is in use by another process"),
        (&long, 2, "has 108 bytes, a socket's path at most 107"),
    ];
    check_all(cases, |(arguments, code, expected)| {
        let output = place.fedpipe(arguments).output().unwrap();
        let text = stderr(&output);
        if output.status.code() == Some(*code) && text.contains(expected) && text.lines().count() == 1 {
            Ok(())
        } else {
            Err(format!("{}: {text}", output.status))
        }
    });
    assert_eq!(fs::read(place.path("text")).unwrap(), b"a text");
}

#[test]
fn a_client_that_died_idle_costs_no_conversation() {
    let place = Place::new();
    experiment(&place, "model = \"misbehaving\"\nclients.count = 2");
    let node = Node::start(&place, 1);
    let kill_client = || {
        let client = node.client();
        kill(Pid::from_raw(client), Signal::SIGKILL).unwrap();
        let is_dead = || children(node.pid()).iter().all(|(pid, state)| *pid != client || *state == 'Z');
        eventually("the client is dead", || is_dead().then_some(()));
    };
    let train_in = |visit: &mut Visit, weights: &[f32]| {
        visit.say(&train(), Some(weights));
        let (reply, mut parts) = visit.hear();
        assert!(matches!(reply, Reply::Update(_)), "{reply:?}");
        parts.take_f32(WEIGHTS)
    };
    let (mut visit, _) = Visit::to(&node, &setup(&[]));
    let weights = visit.weights();
    let update = train_in(&mut visit, &weights);
    // The client dies within a conversation, and between two.
    kill_client();
    assert_eq!(train_in(&mut visit, &weights), update);
    drop(visit);
    kill_client();
    let (mut visit, ready) = Visit::to(&node, &setup(&[]));
    assert!(matches!(ready, Reply::Ready(_)), "{ready:?}");
    assert_eq!(train_in(&mut visit, &weights), update);
}
