//! Tests of a session with the model logreg and the sample, which is dealt to two clients.

mod scored_examples;

use std::collections::BTreeMap;

use fedpipe_data::{Cache, Deal, Dealt, Holdout, Reading, Scheme, Source, deal};
use fedpipe_protocol::{
    Evaluate, Isolation, Level, PartData, Phase, PhaseStart, Purpose, ScoreStart, Target, Train, Update,
};
use fedpipe_strategy::transform::chain::Transforms;
use tempfile::TempDir;

use super::{train::Trained, *};

/// The data of two clients, with the values that a session starts from.
struct Stage {
    _folder: TempDir,
    dealt: Dealt,
    setup: Setup,
    task: Task,
    dylib: &'static str,
}

impl Stage {
    fn new() -> Self {
        Self::holding_out(0.0)
    }

    /// Returns data of which each client holds out this share.
    fn holding_out(rows: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let parameters = Deal {
            source: Source::Sample,
            reading: Reading::default(),
            scheme: Scheme::default(),
            clients: 2,
            seed: 0,
            holdout: Holdout { rows, clients: 0.0 },
            split_file: None,
        };
        let dealt = deal(&parameters, &Cache::at(folder.path()), &mut |_| ()).unwrap();
        let setup = Setup {
            dylib: None,
            dylib_sha256: None,
            test_sha256: Some(dealt.test.sha256.clone()),
            options: BTreeMap::new(),
            seed: 1,
            init_seed: None,
            isolation: Isolation { level: Level::Off, memory_limit: None, cpu_seconds: None },
            purpose: Purpose::Describe,
        };
        let task = Task { shape: vec![28, 28], target: Target::Classes(10) };
        Self { _folder: folder, dealt, setup, task, dylib: "liblogreg.so" }
    }

    /// Returns the partitions of these clients.
    fn held(&self, clients: &[u32]) -> Vec<HeldPartition> {
        let held =
            |&client| HeldPartition { client, path: self.dealt.path_of(client), sha256: self.dealt.sha256_of(client) };
        clients.iter().map(held).collect()
    }

    fn start(&self, held: &[HeldPartition]) -> Result<(Session, Ready), Failure> {
        let dylib = std::env::current_exe().unwrap().with_file_name(self.dylib);
        let loaded = Loaded::open(&dylib).unwrap();
        Session::start(loaded, &self.setup, &self.task, held, &self.dealt.test.path)
    }

    /// Returns a session of these clients that has received weights.
    fn session(&self, clients: &[u32]) -> Session {
        let (mut session, _) = self.start(&self.held(clients)).unwrap();
        let weights = vec![0.0; session.weight_count()];
        session.received = Some(Received { version: 1, weights });
        session
    }

    fn refusal(&self, held: &[HeldPartition]) -> Failure {
        self.start(held).map(drop).unwrap_err()
    }
}

fn train(client: u32) -> Train {
    Train { phases: vec![Phase::plain(2)], weights_version: 1, ..Train::plain(client, 1) }
}

/// Returns the parts of a request that has these vectors.
fn parts(vectors: &[(&str, Vec<f32>)]) -> Parts {
    let mut parts = Parts::default();
    vectors.iter().for_each(|(name, values)| parts.set(name, PartData::F32(values.clone())));
    parts
}

/// Trains and returns the update with the weights after it.
fn trained(session: &mut Session, train: &Train, vectors: &[(&str, Vec<f32>)]) -> (Trained, Vec<f32>) {
    let update = session.train(train, parts(vectors)).unwrap();
    (update, session.weights().unwrap().to_vec())
}

fn encoded(transform: &str) -> Train {
    Train { transforms: vec![transform.into()], ..train(0) }
}

/// Trains and returns the parts of the encoded update.
fn encoded_parts(session: &mut Session, transform: &str, vectors: &[(&str, Vec<f32>)]) -> Parts {
    let mut parts = Parts::default();
    let update = trained(session, &encoded(transform), vectors).0;
    update.encoded.unwrap().into_iter().for_each(|(name, data)| parts.set(&name, data));
    parts
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
        let (trained, weights) = trained(&mut session, &train(client), &[]);
        // The times of the local epochs differ.
        assert_eq!(trained.update.epochs.len(), 2);
        (Update { epochs: Vec::new(), ..trained.update }, weights)
    };
    let (update, weights) = trained(0);
    // 32 batches in each of two epochs.
    assert_eq!((update.client, update.round, update.examples, update.steps), (0, 1, 1000, 64));
    assert_eq!((update.scored, update.start), (1000, None));
    assert!(update.loss_sum > 0.0 && update.correct > 100, "{update:?}");
    assert_ne!(trained(1).1, weights);
    assert_eq!(trained(0), (update, weights), "the work of another client leaves no trace");
}

fn phases(phases: &[Phase]) -> Train {
    Train { phases: phases.into(), ..train(0) }
}

#[test]
fn phases_follow_each_other_or_start_anew() {
    let stage = Stage::new();
    let mut session = stage.session(&[0]);
    let count = session.weight_count();
    let two = trained(&mut session, &train(0), &[]).1;
    let one = Phase { update: false, ..Phase::plain(1) };
    let then = Phase { start: PhaseStart::Previous, ..Phase::plain(1) };
    let (update, weights) = trained(&mut session, &phases(&[one.clone(), then]), &[]);
    assert_eq!(weights, two, "two phases of one epoch are one of two");
    let [(name, PartData::F32(after_one))] = &update.slots[..] else { panic!("{:?}", update.slots) };
    let single = trained(&mut session, &phases(&[Phase::plain(1)]), &[]).1;
    assert_eq!((name.as_str(), after_one), ("slot/0", &single));
    assert_eq!(update.update.steps, 32, "the steps are those of the phase that is the update");
    // From the received weights, and from weights of its own, with the same order of examples.
    assert_eq!(trained(&mut session, &phases(&[one.clone(), Phase::plain(1)]), &[]).1, single);
    let from_slot = Phase { start: PhaseStart::Slot, ..Phase::plain(1) };
    let zeros = [("start/1", vec![0.0; count])];
    assert_eq!(trained(&mut session, &phases(&[one.clone(), from_slot.clone()]), &zeros).1, single);
    // The update is that of its phase, whatever follows.
    let last = Phase { start: PhaseStart::Previous, ..one.clone() };
    let (update, weights) = trained(&mut session, &phases(&[Phase::plain(1), last]), &[]);
    assert_eq!((weights, update.update.steps), (single.clone(), 32));
    assert_eq!(update.slots, [("slot/1".to_owned(), PartData::F32(two))]);
    let none = session.train(&phases(std::slice::from_ref(&one)), parts(&[]));
    assert_failed(none, FailureKind::Protocol, "no phase of the request is the update");
    let mut session = stage.session(&[0]);
    let missing = session.train(&phases(&[one, from_slot]), parts(&[]));
    assert_failed(missing, FailureKind::Protocol, "the request has no part \"start/1\"");
}

/// A process of a pool has the momentum of the client that trained before, which no other client may begin with.
#[test]
fn a_momentum_is_that_of_the_request_also_where_the_first_phase_is_called_a_later_one() {
    let stage = Stage::new();
    let mut session = stage.session(&[0, 1]);
    let optimiser = r#"{"name":"sgd","momentum":0.9,"keep":true}"#;
    let asked = |client, start| Train {
        phases: vec![Phase { start, ..Phase::plain(1) }],
        optimiser: optimiser.into(),
        keeps_momentum: true,
        ..train(client)
    };
    let mut trained = |client, start| {
        let (Trained { slots, .. }, weights) = trained(&mut session, &asked(client, start), &[]);
        assert!(matches!(&slots[..], [(name, PartData::F32(_))] if name == "momentum"), "{slots:?}");
        (slots, weights)
    };
    let first = trained(0, PhaseStart::Received);
    assert_ne!(trained(1, PhaseStart::Received), first);
    assert_eq!(trained(0, PhaseStart::Previous), first);
}

#[test]
fn a_step_limit_ends_a_phase_and_the_loss_is_over_the_scored_examples() {
    let mut session = Stage::new().session(&[0]);
    let limited = phases(&[Phase { steps: Some(40), ..Phase::plain(5) }]);
    let update = trained(&mut session, &limited, &[]).0.update;
    // 32 batches of 1000 examples, then 8 of 32.
    assert_eq!((update.steps, update.scored, update.examples), (40, 8 * 32, 1000));
}

#[test]
fn terms_reach_the_model_and_wrong_parts_are_refused_by_name() {
    let stage = Stage::new();
    let mut session = stage.session(&[0]);
    let count = session.weight_count();
    let plain = trained(&mut session, &phases(&[Phase::plain(1)]), &[]).1;
    let proximal = phases(&[Phase { proximal: 0.5, ..Phase::plain(1) }]);
    let pulled = trained(&mut session, &proximal, &[]).1;
    assert_ne!(pulled, plain);
    let anchored = trained(&mut session, &proximal, &[("anchor", vec![0.0; count])]).1;
    assert_eq!(anchored, pulled, "the anchor is the received weights if there is none");
    let linear = phases(&[Phase { linear: true, ..Phase::plain(1) }]);
    assert_eq!(trained(&mut session, &linear, &[("linear", vec![0.0; count])]).1, plain);
    assert_ne!(trained(&mut session, &linear, &[("linear", vec![0.1; count])]).1, plain);
    let name = session.layout.tensors()[0].name.clone();
    let range = session.layout.ranges().next().unwrap().1;
    let frozen = phases(&[Phase { frozen: vec![name], ..Phase::plain(1) }]);
    let kept = trained(&mut session, &frozen, &[]).1;
    assert!(kept[range].iter().all(|weight| *weight == 0.0) && kept.iter().any(|weight| *weight != 0.0));
    let unknown = phases(&[Phase { frozen: vec!["none".into()], ..Phase::plain(1) }]);
    let cases = [
        (linear.clone(), parts(&[]), "the request has no part \"linear\""),
        (linear, parts(&[("linear", vec![0.0])]), "the part \"linear\" has 1 value, expected 7850"),
        (unknown, parts(&[]), "the phase freezes the tensor \"none\", which the model does not have"),
        (encoded("int8:x=1"), parts(&[]), "unknown key `x`"),
        (encoded("topk:0.5"), parts(&[("residual", vec![0.0])]), "the part \"residual\" has 1 value, expected 7850"),
        (
            Train { transforms: vec!["int8".into(), "clip:1".into()], ..train(0) },
            parts(&[]),
            "int8:bucket=512,l2=false cannot stand before clip:norm=1",
        ),
    ];
    for (train, parts, says) in cases {
        let mut session = stage.session(&[0]);
        assert_failed(session.train(&train, parts), FailureKind::Protocol, says);
    }
}

#[test]
fn received_weights_are_scored_on_the_same_rows_in_each_round() {
    let mut session = Stage::new().session(&[0]);
    let mut start = |round, score_start| {
        let train = Train { round, score_start: Some(score_start), ..train(0) };
        trained(&mut session, &train, &[]).0.update.start.unwrap()
    };
    let first = start(1, ScoreStart::Rows);
    assert_eq!((first.examples, start(2, ScoreStart::Rows)), (512, first));
    // Zero weights predict each of ten classes alike.
    const LN_10: f64 = std::f64::consts::LN_10;
    assert!((first.loss_sum / 512.0 - LN_10).abs() < 1e-6, "{first:?}");
    assert_eq!(start(1, ScoreStart::All).examples, 1000);
}

#[test]
fn an_encoded_update_is_the_change() {
    let mut session = Stage::new().session(&[0]);
    let weights = trained(&mut session, &train(0), &[]).1;
    let mut parts = encoded_parts(&mut session, "int8", &[]);
    let change = "int8".parse::<Transforms>().unwrap().decode(&mut parts, weights.len()).unwrap();
    let most =
        weights.iter().map(|weight| weight.abs()).fold(0.0, |most, weight| if weight > most { weight } else { most });
    let worst = weights.iter().zip(&change).map(|(w, c)| (w - c).abs());
    assert!(worst.into_iter().all(|error| error <= most / 127.0), "the weights began at zero");
}

/// The client keeps nothing: the residual of a request, and no other, is added to the change.
#[test]
fn what_an_encoding_did_not_send_comes_with_the_next_request() {
    let mut session = Stage::new().session(&[0]);
    let change = trained(&mut session, &train(0), &[]).1;
    let transforms: Transforms = "topk:0.1".parse().unwrap();
    let residual: Vec<f32> = (0..change.len()).map(|index| index as f32 - 4e3).collect();
    for (parts, due) in [
        (vec![("residual", residual.clone())], change.iter().zip(&residual).map(|(c, r)| c + r).collect()),
        (vec![], change),
    ] {
        let mut parts = encoded_parts(&mut session, "topk:0.1", &parts);
        let left = parts.take_f32("residual").unwrap();
        let sent = transforms.decode(&mut parts, left.len()).unwrap();
        assert!(parts.is_empty(), "the weights began at zero");
        assert_eq!(sent.iter().zip(&left).map(|(sent, left)| sent + left).collect::<Vec<_>>(), due);
        assert_eq!(sent.iter().filter(|value| **value != 0.0).count(), 785);
    }
}

#[test]
fn work_that_the_session_has_no_data_or_weights_for_is_refused() {
    let stage = Stage::new();
    let (mut fresh, _) = stage.start(&stage.held(&[1])).unwrap();
    assert_failed(fresh.receive(1, &mut parts(&[])), FailureKind::Protocol, "the request has no part \"weights\"");
    let mut session = stage.session(&[1]);
    let other = "this client does not hold the partition of client 0";
    assert_failed(session.receive(2, &mut parts(&[])), FailureKind::Protocol, "version 2; this client has version 1");
    assert_failed(session.train(&train(0), parts(&[])), FailureKind::Protocol, other);
    let mut session = stage.session(&[1]);
    let test = |block| Evaluate::test(vec![block]);
    assert_failed(session.evaluate(&test(1)), FailureKind::Protocol, "block 1 is beyond the 500 examples");
    let sums = session.evaluate(&test(0)).unwrap().blocks;
    assert_eq!((sums[0].block, sums[0].examples), (0, 500));
    let none = session.evaluate(&Evaluate { client: Some(1), ..test(0) });
    assert_failed(none, FailureKind::Protocol, "block 0 is beyond the 0 examples");
    assert_failed(session.evaluate(&Evaluate { client: Some(0), ..test(0) }), FailureKind::Protocol, other);
}

#[test]
fn data_of_another_task_are_refused() {
    let other = |task: Task| Stage { task, ..Stage::new() };
    let stage = other(Task { shape: vec![784], target: Target::Classes(10) });
    let failure = stage.refusal(&stage.held(&[0]));
    assert!(failure.message.ends_with("has examples of shape [28, 28], the task says [784]"), "{failure:?}");
    let stage = other(Task { shape: vec![28, 28], target: Target::Classes(9) });
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
    let weights = vec![0.0; session.weight_count()];
    session.received = Some(Received { version: 1, weights });
    assert_failed(session.train(&train(1), parts(&[])), FailureKind::Data, "");
    let setup = Setup { test_sha256: Some("0".repeat(64)), ..stage.setup.clone() };
    let mut session = Stage { setup, ..stage }.session(&[0]);
    session.train(&train(0), parts(&[])).unwrap();
    assert_failed(session.evaluate(&Evaluate::test(vec![0])), FailureKind::Data, "");
}

#[test]
fn an_option_that_the_model_lacks_is_refused() {
    let mut stage = Stage::new();
    stage.setup.options = [("none".to_owned(), "1".to_owned())].into();
    let failure = stage.refusal(&stage.held(&[0]));
    assert!(failure.kind == FailureKind::Refused && failure.message.contains("none"), "{failure:?}");
}
