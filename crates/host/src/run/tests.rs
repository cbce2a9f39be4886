//! Tests of the loop of rounds: its checkpoints, its end, and a resume after a killed host.

use std::process::ExitStatus;

use super::*;
use crate::{
    error::Error,
    process::scripted::ScriptedClient,
    run::scripted_run::{Stage, experiment, failing},
};

/// Returns an experiment with so many rounds from one checkpoint to the next.
fn saving(checkpoint_every: u64, rounds: u64) -> Experiment {
    let mut saving = Experiment { rounds, ..experiment() };
    saving.execution.checkpoint_every = checkpoint_every;
    saving
}

/// Does the rounds of a run and waits for its checkpoints.
fn do_rounds(mut run: ActiveRun<'_>) -> Result<Stop> {
    let mut saver = run.start_saver().unwrap();
    let ended = rounds(&mut run, &mut saver);
    saver.finish().unwrap();
    ended
}

/// Does the rounds of a run and leaves its results.
fn do_all(mut run: ActiveRun<'_>) -> Result<Summary> {
    let mut saver = run.start_saver().unwrap();
    let ended = rounds(&mut run, &mut saver);
    run.finish(saver, ended, Default::default())
}

/// Returns the script of clients that all fail in one round.
fn failing_in(round: u64) -> impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static {
    failing(move |_, train| train.round == round)
}

#[test]
fn a_checkpoint_is_saved_every_so_many_rounds_and_after_the_last() {
    // A run keeps two checkpoints.
    for (checkpoint_every, last, expected) in
        [(1, 4, &[4, 3][..]), (2, 5, &[5, 4]), (3, 7, &[7, 6]), (3, 6, &[6, 3]), (9, 4, &[4])]
    {
        let stage = Stage::new(saving(checkpoint_every, last));
        assert_eq!(stage.begin(ScriptedClient::serve, do_rounds).unwrap(), Stop::Rounds);
        assert_eq!(stage.checkpoints(), expected, "{last} rounds, every {checkpoint_every}");
        assert_eq!(stage.history().rounds.len() as u64, last);
    }
}

#[test]
fn a_killed_run_reverts_to_its_last_checkpoint_and_ends_with_the_same_bits() {
    let of_six = || saving(3, 6);
    let whole = Stage::new(of_six()).begin(ScriptedClient::serve, do_all).unwrap();
    let stage = Stage::new(of_six());
    // Round 6 fails, and the host is killed before it can save the state after round 5.
    assert!(matches!(stage.begin(failing_in(6), do_rounds), Err(Error::Round(_))));
    assert_eq!((stage.checkpoints(), stage.history().rounds.len()), (vec![3], 5));
    let resumed = stage.resume(ScriptedClient::serve, |run| {
        assert_eq!((run.state.next_round(), stage.history().rounds.len()), (4, 3));
        assert_eq!(**run.state.weights(), [7.5, 7.5], "each round adds the mean of 1, 2, 3 and 4");
        do_all(run).unwrap()
    });
    assert_eq!((&resumed.weights_sha256, resumed.rounds), (&whole.weights_sha256, 6));
    assert_eq!(stage.checkpoints(), [6, 3]);
}

#[test]
fn the_initial_weights_are_scored_once_before_the_first_round() {
    let stage = Stage::new(Experiment { rounds: 2, ..experiment() });
    assert!(stage.begin(failing_in(2), do_all).is_err());
    let lines = || std::fs::read_to_string(stage.path().join("ledger.jsonl")).unwrap();
    let place = |text: &str| lines().lines().position(|line| line.contains(text)).unwrap();
    assert!(place("\"initial_score\"") < place("\"round\":1"));
    let initial = stage.history().initial.unwrap();
    let resumed = stage.resume(ScriptedClient::serve, |run| do_all(run).unwrap());
    assert_eq!(lines().matches("\"initial_score\"").count(), 1);
    assert_eq!((resumed.initial_loss, resumed.initial_accuracy), (Some(initial.loss), initial.accuracy));
}

#[test]
fn a_run_without_a_checkpoint_begins_again_with_the_initial_weights() {
    let stage = Stage::new(saving(3, 3));
    assert!(stage.begin(failing_in(3), do_rounds).is_err());
    assert_eq!((stage.checkpoints(), stage.history().rounds.len()), (vec![], 2));
    stage.resume(ScriptedClient::serve, |run| {
        assert_eq!((run.state.next_round(), stage.history().rounds.len()), (1, 0));
        assert_eq!(**run.state.weights(), [0.0, 0.0]);
    });
}

#[test]
fn a_round_that_fails_is_followed_by_a_checkpoint_of_the_round_before() {
    let stage = Stage::new(saving(3, 6));
    let why = stage.begin(failing_in(5), do_all).unwrap_err().to_string();
    assert!(why.starts_with("round 5 failed: "), "{why}");
    assert_eq!(stage.checkpoints(), [4, 3]);
}

#[test]
fn a_run_ends_once_it_has_converged_and_saves_that_round() {
    // The loss never moves, so that the rounds 10, 11 and 12 are at rest.
    let converging = |max_rounds| Experiment { until_converged: true, max_rounds, ..saving(4, 5) };
    for (max_rounds, stop, checkpoints) in
        [(20, Stop::Converged, &[12, 8]), (12, Stop::Converged, &[12, 8]), (11, Stop::MaxRounds, &[11, 8])]
    {
        let stage = Stage::new(converging(max_rounds));
        assert_eq!(stage.begin(ScriptedClient::serve, do_rounds).unwrap(), stop, "at most {max_rounds} rounds");
        assert_eq!(stage.checkpoints(), checkpoints, "at most {max_rounds} rounds");
    }
}

#[test]
fn a_resume_of_a_run_that_has_converged_does_no_round() {
    let stage = Stage::new(Experiment { until_converged: true, ..experiment() });
    assert_eq!(stage.begin(ScriptedClient::serve, do_rounds).unwrap(), Stop::Converged);
    assert_eq!(stage.resume(failing_in(13), do_rounds).unwrap(), Stop::Converged);
    assert_eq!(stage.history().rounds.len(), 12);
}
