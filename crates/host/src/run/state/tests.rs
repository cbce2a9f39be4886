//! Tests of the state between two rounds.

use fedpipe_data::{DatasetTarget, FeatureType};
use fedpipe_protocol::Update;
use fedpipe_strategy::{closed_round::ClientUpdate, slots::Slot};

use super::*;
use crate::run::{client_scoring::RoundScores, round::TestScore};

fn finite(number: f64) -> Finite {
    Finite::try_from(number).unwrap()
}

fn state(tolerance: f64) -> RunState {
    state_in(Path::new("/nonexistent"), tolerance)
}

fn state_in(directory: &Path, tolerance: f64) -> RunState {
    let initial = InitialWeights { weights: vec![1.0, 1.0], crashes: 2 };
    let dataset = DatasetInfo {
        name: "sample".into(),
        sha256: String::new(),
        drawn_from: None,
        shape: vec![2],
        features: FeatureType::U8,
        target: DatasetTarget::classes(10),
        gap: None,
        range: None,
        standardisation: None,
        remarks: Vec::new(),
        natural_clients: None,
        client_names: Vec::new(),
        train_examples: 4,
        test_examples: 4,
        sample: true,
    };
    RunState::new(&dataset, initial, &Experiment { tolerance, ..Experiment::default() }, directory)
}

/// Returns a round of which these clients of `of` returned an update.
fn result(clients: &[u32], of: u32, weights: &[f32]) -> RoundResult {
    let (header, new) = (|client| Update::plain(client, 1, 1), Arc::new(weights.to_vec()));
    RoundResult {
        updates: clients.iter().map(|&client| ClientUpdate::new(header(client), vec![])).collect(),
        trainings: of,
        attackers: Vec::new(),
        timing: None,
        of,
        bytes_asked: 0,
        training_loss: Some(finite(0.5)),
        start_loss: Some(finite(0.5)),
        learning_rate: None,
        weights: Arc::clone(&new),
        output: new,
        server: Slots::from_iter([("m", Slot::F32(Arc::new(weights.to_vec())))]),
        score: Some(TestScore { loss: finite(0.25), accuracy: Some(finite(0.75)), regression: None }),
        client_scores: RoundScores::default(),
    }
}

#[test]
fn a_checkpoint_is_made_once_a_round_and_shares_the_state() {
    let mut state = state(0.1);
    assert_eq!(state.checkpoint().unwrap(), None);
    let result = result(&[0], 1, &[2.0, 2.0]);
    state.commit(1, &result, Instant::now()).unwrap();
    let position = Position { bytes: 7, hash: "h".into() };
    state.recorded_at(&position);
    let checkpoint = state.checkpoint().unwrap().unwrap();
    assert_eq!(checkpoint.meta, Meta { round: 1, ledger: position, clients: Vec::new() });
    assert!(Arc::ptr_eq(&checkpoint.weights, &result.weights), "the weights are not copied");
    let moments = [&checkpoint.server, &result.server].map(|slots| slots.vector("m").unwrap());
    assert!(Arc::ptr_eq(moments[0], moments[1]), "the server's state is not copied");
    assert_eq!(state.checkpoint().unwrap(), None);
}

/// Client 0 has its first state, client 1 keeps its own, and client 2 never has one.
#[test]
fn a_line_has_the_states_that_a_round_changed() {
    let directory = tempfile::tempdir().unwrap();
    let mut state = state_in(directory.path(), 0.1);
    let slots = |value: f32| Slots::from_iter([("c", Slot::F32(Arc::new(vec![value, value])))]);
    let mut result = result(&[0, 1, 2], 3, &[1.0, 1.0]);
    result.updates[0].after = slots(1.0);
    (result.updates[1].before, result.updates[1].after) = (slots(2.0), slots(2.0));
    let record = state.commit(1, &result, Instant::now()).unwrap();
    assert_eq!((record.bytes_of_states, record.clients_sha256.is_some()), (8, true));
    assert_eq!(state.clients.checkpoint(1).unwrap().iter().map(|file| file.client).collect::<Vec<_>>(), [0]);
    result.updates[0].before = slots(1.0);
    let record = state.commit(2, &result, Instant::now()).unwrap();
    assert_eq!((record.bytes_of_states, record.clients_sha256.as_ref()), (0, None));
    result.updates[0].after = Slots::default();
    let record = state.commit(3, &result, Instant::now()).unwrap();
    assert_eq!((record.bytes_of_states, record.clients_sha256.is_some()), (0, true));
    assert_eq!(state.clients.state_of(0).unwrap(), Slots::default());
}

#[test]
fn a_state_of_a_client_that_cannot_be_written_leaves_the_state_before_the_round() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(names::STATE), "no folder").unwrap();
    let mut state = state_in(directory.path(), 0.1);
    let mut result = result(&[0], 1, &[2.0, 2.0]);
    result.updates[0].after = Slots::from_iter([("c", Slot::F32(Arc::new(vec![1.0, 1.0])))]);
    assert!(state.commit(1, &result, Instant::now()).is_err());
    assert_eq!((&state.weights()[..], state.server().is_empty(), state.last_round()), (&[1.0, 1.0][..], true, 0));
}

#[test]
fn participants_are_named_if_not_every_client_took_part() {
    let mut state = state(0.1);
    let record = state.commit(1, &result(&[0, 1, 2], 3, &[1.0, 1.0]), Instant::now()).unwrap();
    assert_eq!((record.clients, record.failed, record.participants.as_slice()), (3, 0, &[][..]));
    let record = state.commit(2, &result(&[0, 2], 3, &[1.0, 1.0]), Instant::now()).unwrap();
    assert_eq!((record.clients, record.failed, record.participants.as_slice()), (2, 1, &[0, 2][..]));
    assert_eq!((state.last_round(), state.next_round()), (2, 3));
}

#[test]
fn a_run_has_converged_after_three_rounds_at_rest() {
    let mut state = state(0.1);
    // Rounds 10 to 12 are the first with two windows of five rounds.
    for round in 1..=12 {
        state.commit(round, &result(&[0], 1, &[1.0, 1.0]), Instant::now()).unwrap();
        assert_eq!(state.has_converged(), round == 12, "round {round}");
    }
    let higher = RoundResult { start_loss: Some(finite(0.75)), ..result(&[0], 1, &[1.0, 1.0]) };
    state.commit(13, &higher, Instant::now()).unwrap();
    assert!(!state.has_converged());
}

#[test]
fn the_summary_counts_all_crashes_and_tells_of_the_last_round() {
    let mut state = state(0.1);
    state.count_crash();
    let summary =
        |state: &RunState| state.summary(&Experiment::default(), ("m", Vec::new()), Stop::Rounds, Duration::ZERO);
    let before = summary(&state);
    assert_eq!((before.rounds, before.accuracy, before.failures, before.loss_fell), (0, None, 3, None));
    assert_eq!(before.weights_sha256, weights_sha256(&[1.0, 1.0]));
    state.commit(1, &result(&[1], 2, &[3.0, 3.0]), Instant::now()).unwrap();
    state.set_initial_score(InitialScore { accuracy: Some(finite(0.1)), regression: None, loss: finite(0.3) });
    let after = summary(&state);
    assert_eq!((after.rounds, after.accuracy, after.loss_fell), (1, Some(finite(0.75)), Some(true)));
    assert!(after.clients_dropped);
    assert_eq!(after.weights_sha256, weights_sha256(&[3.0, 3.0]));
}
