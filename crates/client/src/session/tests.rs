//! Tests of a session with the model logreg and the sample, which is dealt to two clients.

use std::collections::BTreeMap;

use fedpipe_data::{Cache, Deal, Dealt, Scheme, Source, deal};
use fedpipe_protocol::{Isolation, Level, Purpose};
use tempfile::TempDir;

use super::*;

/// The data of two clients, with the values that a session starts from.
struct Stage {
    _folder: TempDir,
    dealt: Dealt,
    setup: Setup,
    task: Task,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parameters = Deal { source: Source::Sample, scheme: Scheme::Iid, clients: 2, seed: 0 };
        let dealt = deal(&parameters, &Cache::at(folder.path()), &mut |_| ()).unwrap();
        let setup = Setup {
            dylib: None,
            dylib_sha256: None,
            test_sha256: Some(dealt.test.sha256.clone()),
            options: BTreeMap::new(),
            seed: 1,
            isolation: Isolation { level: Level::Off, memory_limit: None, cpu_seconds: None },
            purpose: Purpose::Describe,
        };
        Self { _folder: folder, dealt, setup, task: Task { shape: vec![28, 28], classes: 10 } }
    }

    /// Returns the partitions of these clients.
    fn held(&self, clients: &[u32]) -> Vec<HeldPartition> {
        let held =
            |&client| HeldPartition { client, path: self.dealt.path_of(client), sha256: self.dealt.sha256_of(client) };
        clients.iter().map(held).collect()
    }

    fn start(&self, held: &[HeldPartition]) -> Result<(Session, Ready), Failure> {
        let dylib = std::env::current_exe().unwrap().with_file_name("liblogreg.so");
        let loaded = Loaded::open(&dylib).unwrap();
        Session::start(loaded, &self.setup, &self.task, held, &self.dealt.test.path)
    }

    /// Returns a session of these clients that has received weights.
    fn session(&self, clients: &[u32]) -> Session {
        let (mut session, _) = self.start(&self.held(clients)).unwrap();
        session.received = Some(vec![0.0; session.weight_count()]);
        session.set_weights().unwrap();
        session
    }

    fn refusal(&self, held: &[HeldPartition]) -> Failure {
        self.start(held).map(drop).unwrap_err()
    }
}

fn train(client: u32) -> Train {
    let optimiser = r#"{"name":"sgd"}"#.into();
    Train { client, round: 1, epochs: 2, batch_size: 32, learning_rate: 0.1, optimiser }
}

#[track_caller]
fn assert_failed<T>(result: Result<T, Failure>, kind: FailureKind, says: &str) {
    let failure = result.map(drop).unwrap_err();
    assert!(failure.kind == kind && failure.message.contains(says), "{failure:?}");
}

#[test]
fn a_session_reports_its_model_and_the_examples_of_each_partition() {
    let stage = Stage::new();
    let (session, ready) = stage.start(&stage.held(&[0, 1])).unwrap();
    assert_eq!((ready.name.as_str(), ready.examples), ("logreg", vec![1000, 1000]));
    assert_eq!(session.weight_count(), Layout::new(ready.layout).unwrap().weight_count());
}

#[test]
fn an_update_follows_from_the_request_and_the_partition_alone() {
    let stage = Stage::new();
    let mut session = stage.session(&[0, 1]);
    let mut trained = |client| {
        session.set_weights().unwrap();
        let update = session.train(&train(client)).unwrap();
        (update, session.weights().unwrap().to_vec())
    };
    let (update, weights) = trained(0);
    // 32 batches in each of two epochs.
    assert_eq!((update.client, update.round, update.examples, update.steps), (0, 1, 1000, 64));
    assert!(update.loss_sum > 0.0 && update.correct > 100, "{update:?}");
    assert_ne!(trained(1).1, weights);
    assert_eq!(trained(0), (update, weights), "the work of another client leaves no trace");
}

#[test]
fn work_that_the_session_has_no_data_or_weights_for_is_refused() {
    let stage = Stage::new();
    let (mut fresh, _) = stage.start(&stage.held(&[1])).unwrap();
    assert_failed(fresh.set_weights(), FailureKind::Protocol, "the request has no part \"weights\"");
    let mut session = stage.session(&[1]);
    let other = "this client does not hold the partition of client 0";
    assert_failed(session.train(&train(0)), FailureKind::Protocol, other);
    let beyond = "block 1 is beyond the test set of 500 examples";
    assert_failed(session.evaluate(1), FailureKind::Protocol, beyond);
    let sums = session.evaluate(0).unwrap();
    assert_eq!((sums.block, sums.examples), (0, 500));
}

#[test]
fn data_of_another_task_are_refused() {
    let other = |task: Task| Stage { task, ..Stage::new() };
    let stage = other(Task { shape: vec![784], classes: 10 });
    let failure = stage.refusal(&stage.held(&[0]));
    assert!(failure.message.ends_with("has examples of shape [28, 28], the task says [784]"), "{failure:?}");
    let stage = other(Task { shape: vec![28, 28], classes: 9 });
    assert_eq!(stage.refusal(&stage.held(&[0])).kind, FailureKind::Data);
}

#[test]
fn the_only_partition_is_checked_at_once_and_other_data_at_their_first_use() {
    let stage = Stage::new();
    let altered = |clients: &[u32]| {
        let held = stage.held(clients).into_iter();
        held.map(|held| HeldPartition { sha256: Some("0".repeat(64)), ..held }).collect::<Vec<_>>()
    };
    assert_eq!(stage.refusal(&altered(&[0])).kind, FailureKind::Data);
    let (mut session, _) = stage.start(&altered(&[0, 1])).unwrap();
    assert_failed(session.train(&train(1)), FailureKind::Data, "");
    let setup = Setup { test_sha256: Some("0".repeat(64)), ..stage.setup.clone() };
    let mut session = Stage { setup, ..stage }.session(&[0]);
    session.train(&train(0)).unwrap();
    assert_failed(session.evaluate(0), FailureKind::Data, "");
}

#[test]
fn an_option_that_the_model_lacks_is_refused() {
    let mut stage = Stage::new();
    stage.setup.options = [("none".to_owned(), "1".to_owned())].into();
    let failure = stage.refusal(&stage.held(&[0]));
    assert!(failure.kind == FailureKind::Refused && failure.message.contains("none"), "{failure:?}");
}
