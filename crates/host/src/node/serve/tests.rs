//! Tests of a node whose clients follow a script.

use std::process::ExitStatus;

use fedpipe_protocol::{Evaluate, Target, Task, Train, begin};

use super::*;
use crate::process::scripted::{Scripted, ScriptedClient, exit, ready, trained};

/// A node whose files have these digests; its client is never started.
fn service(folder: &Path) -> Service {
    let node = Node {
        command: ClientCommand::new("/nonexistent", "fedpipe-client"),
        dylib: "/models/mine.so".into(),
        partition: "/own/partition".into(),
        test: "/own/test".into(),
        socket: folder.join("socket"),
        timeout: Duration::from_secs(3600),
        isolation: Level::Auto,
        memory_limit: Some(MemoryLimit::None),
        cpu_limit: Some(5),
    };
    Service {
        listener: Listener::bind(&node.socket).unwrap(),
        node,
        folder: TemporaryFolder::new_in(folder, "node-", 0o700).unwrap(),
        model: ready(),
        dylib_sha256: "d".into(),
        examples: 7,
        partition_sha256: "p".into(),
        test_sha256: "t".into(),
    }
}

fn requested(clients: &[u32], sha256: [&str; 3]) -> Setup {
    let [dylib, partition, test] = sha256.map(|sha256| Some(sha256.to_owned()));
    let held = |&client: &u32| HeldPartition { client, path: "/theirs".into(), sha256: partition.clone() };
    Setup {
        dylib: Some("/theirs.so".into()),
        dylib_sha256: dylib,
        test_sha256: test,
        options: Default::default(),
        seed: 3,
        init_seed: None,
        isolation: Isolation { level: Level::Off, memory_limit: Some(1), cpu_seconds: None },
        purpose: Purpose::Serve {
            task: Task { shape: vec![2], target: Target::Classes(2) },
            partitions: clients.iter().map(held).collect(),
            test: "/theirs".into(),
        },
    }
}

#[test]
fn a_setup_gets_the_files_and_the_isolation_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    let setup = service.own_setup(requested(&[4], ["d", "p", "t"])).unwrap();
    assert_eq!((setup.dylib, setup.seed), (Some(service.copy()), 3));
    assert_eq!(setup.isolation, Isolation { level: Level::Auto, memory_limit: None, cpu_seconds: Some(5) });
    let Purpose::Serve { partitions, test, .. } = setup.purpose else { panic!("a node serves") };
    let held = HeldPartition { client: 4, path: "/own/partition".into(), sha256: Some("p".into()) };
    assert_eq!((partitions, test), (vec![held], "/own/test".into()));
}

#[test]
fn a_run_with_another_model_or_other_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    let describe = Setup { purpose: Purpose::Describe, ..requested(&[], ["d", "p", "t"]) };
    let cases = [
        (requested(&[4], ["x", "p", "t"]), "this node has the model scripted with SHA-256 d, the run's is x"),
        (requested(&[4], ["d", "x", "t"]), "this node has a partition with SHA-256 p, that of the run's client 4 is x"),
        (requested(&[4], ["d", "p", "x"]), "this node has the test set with SHA-256 t, the run's is x"),
        (requested(&[4, 5], ["d", "p", "t"]), "this node has one partition, asked for are 2"),
        (describe, "a node serves a partition"),
    ];
    for (setup, why) in cases {
        let refused = service.own_setup(setup).unwrap_err().to_string();
        assert!(refused.starts_with(why), "{refused}");
    }
}

#[test]
fn an_error_names_the_dylib_that_the_user_gave() {
    let folder = tempfile::tempdir().unwrap();
    let service = service(folder.path());
    let copy = service.copy();
    let error = named(Error::Model(format!("cannot open {}", copy.display())), &copy, &service.node);
    assert_eq!(error.to_string(), "cannot open /models/mine.so");
}

/// A fleet of one scripted client, as a node has.
fn node_fleet(
    script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
) -> (Fleet, tempfile::TempDir) {
    let logs = tempfile::tempdir().unwrap();
    let clients = Arc::new(Scripted::new(script));
    let environment = Environment::new(clients, logs.path().to_owned(), Duration::from_secs(3600));
    let setups = vec![requested(&[4], ["d", "p", "t"])];
    (Fleet::start(environment, &Arc::default(), setups, 1, OnFailure::Drop).unwrap(), logs)
}

fn weights() -> Parts {
    let mut frame = Vec::new();
    write(&mut frame, &Request::GetWeights, &[Part::F32(WEIGHTS, &[1.0, 2.0])]).unwrap();
    let mut bytes = frame.as_slice();
    let begun = begin::<Request>(&mut bytes, Limits::request(8)).unwrap();
    begun.finish(&mut bytes, &Default::default()).unwrap().1
}

fn train() -> Request {
    Request::Train(Train::plain(4, 2))
}

#[test]
fn a_request_is_answered_by_the_process_and_its_crash_is_the_answer() {
    let (mut fleet, _logs) = node_fleet(ScriptedClient::serve);
    let mut warn = |text: &str| panic!("{text}");
    let (reply, mut update) = answer(&mut fleet, train(), weights(), &mut warn).unwrap();
    assert!(matches!(reply, Reply::Update(_)), "{reply:?}");
    assert_eq!(update.take_f32(WEIGHTS), Some(trained(4, &[1.0, 2.0])));
    let crash = |client: &mut ScriptedClient| {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        client.next();
        exit(3)
    };
    let (mut crashing, _logs) = node_fleet(crash);
    let (reply, _) = answer(&mut crashing, train(), weights(), &mut warn).unwrap();
    assert_eq!(reply, failed(FailureKind::Model, "it exited with code 3"));
}

#[test]
fn a_request_out_of_order_or_without_weights_is_refused_before_the_process_has_it() {
    let (mut fleet, _logs) = node_fleet(ScriptedClient::wait_for_end);
    let evaluate = Request::Evaluate(Evaluate::test(vec![0]));
    let cases = [
        (Request::Setup(requested(&[4], ["d", "p", "t"])), "a second setup"),
        (train(), "the request has no part \"weights\""),
        (evaluate, "the request has no part \"weights\""),
    ];
    for (request, why) in cases {
        let (reply, _) = answer(&mut fleet, request, Parts::default(), &mut |text| panic!("{text}")).unwrap();
        assert_eq!(reply, failed(FailureKind::Protocol, why));
    }
}
