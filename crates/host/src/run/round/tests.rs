//! Tests of a round: its pure functions, and rounds whose clients follow a script.

use std::{process::ExitStatus, time::Duration};

use fedpipe_protocol::{Limits, Part, Update, read, write};
use fedpipe_record::experiment::Experiment;
use fedpipe_strategy::strategy::StrategyRows;

use super::*;
use crate::{
    process::{
        end::ProcessExit,
        scripted::{ScriptedClient, exit, ready, trained},
    },
    run::scripted_run::{Stage, experiment, failing},
};

fn changed(change: impl FnOnce(&mut Experiment)) -> Experiment {
    let mut changed = experiment();
    change(&mut changed);
    changed
}

fn header(client: u32, loss_sum: f64, examples: u64) -> Update {
    Update { loss_sum, ..Update::plain(client, 1, examples) }
}

fn settled(reply: Reply, parts: &[Part<'_>]) -> Settled {
    let mut bytes = Vec::new();
    write(&mut bytes, &reply, parts).unwrap();
    Ok(read(&mut bytes.as_slice(), Limits::reply(100)).unwrap())
}

fn crashed(message: &str) -> Settled {
    Err(ProcessExit {
        cause: Cause::protocol(message),
        last_words: Vec::new(),
        log: None,
        after: Duration::ZERO,
        cpu_time: Duration::ZERO,
        greeted: true,
    })
}

#[test]
fn a_client_counts_by_its_examples_in_the_training_loss() {
    let update = |loss_sum, examples| ClientUpdate::new(header(0, loss_sum, examples), Vec::new());
    assert_eq!(training_loss(&[update(6.0, 3), update(1.0, 1)]).unwrap().get(), 1.75);
    assert!(training_loss(&[]).is_err(), "no examples have no mean");
}

#[test]
fn the_blocks_of_the_test_set_are_split_without_a_gap() {
    assert_eq!(shares(5, 2), [vec![0, 1], vec![2, 3, 4]]);
    assert_eq!(shares(2, 9), [vec![0], vec![1]]);
    for (blocks, most) in [(1, 1), (20, 7), (100, 3)] {
        let shares = shares(blocks, most);
        assert_eq!(shares.concat(), Vec::from_iter(0..blocks), "{blocks} blocks, {most} processes");
        assert!(shares.iter().all(|share| !share.is_empty()), "{shares:?}");
    }
}

#[test]
fn a_score_is_the_mean_of_all_blocks_and_fails_with_the_first_cause() {
    let sums = |block, correct| BlockSums { block, loss_sum: 3.0, correct, examples: 4, regression: None };
    let answered = |block, correct| settled(Reply::Evaluated { blocks: vec![sums(block, correct)] }, &[]);
    let all = sums_of(vec![answered(0, 4), answered(1, 2)]).unwrap();
    let score = test_score(&all, 8).unwrap();
    assert_eq!((score.loss.get(), score.accuracy.map(Finite::get)), (0.75, Some(0.75)));
    let failed = sums_of(vec![answered(0, 4), crashed("first"), crashed("second")]);
    assert_eq!(failed.unwrap_err(), Cause::protocol("first"));
}

/// Returns the clients of a round's updates.
fn participants(result: &RoundResult) -> Vec<u32> {
    result.updates.iter().map(|update| update.header.client).collect()
}

#[test]
fn a_round_continues_with_the_quorum_and_fails_below_it() {
    /// The participants of a round, or the end of the reason why the round failed.
    type Expected = std::result::Result<&'static [u32], &'static str>;
    let cases: [(Option<u32>, u32, Expected); 6] = [
        (None, 2, Ok(&[2, 3])),
        (None, 3, Err("1 of 4 clients returned an update (quorum 2): it exited with code 3")),
        (Some(1), 3, Ok(&[3])),
        (Some(1), 4, Err("0 of 4 clients returned an update (quorum 1): it exited with code 3")),
        (Some(4), 0, Ok(&[0, 1, 2, 3])),
        (Some(4), 1, Err("3 of 4 clients returned an update (quorum 4): it exited with code 3")),
    ];
    for (min_clients, failed, expected) in cases {
        let stage = Stage::new(changed(|of| of.clients.min_clients = min_clients));
        let script = failing(move |_, train| train.client < failed);
        let round = stage.begin(script, |mut run| run.round(1));
        match (round, expected) {
            (Ok(result), Ok(clients)) => {
                let mean = clients.iter().map(|client| client + 1).sum::<u32>() as f32 / clients.len() as f32;
                assert_eq!((participants(&result).as_slice(), &**result.weights), (clients, &[mean; 2][..]));
                assert_eq!((result.trainings, result.of), (4, 4));
            }
            (Err(error), Err(why)) => assert_eq!(error.to_string(), format!("round 1 failed: {why}")),
            (round, _) => panic!("quorum {min_clients:?}, {failed} failed: {round:?}"),
        }
    }
}

#[test]
fn a_round_that_fails_leaves_the_state_and_can_be_done_again() {
    // The first processes of three clients fail.
    let script = failing(|client, train| client.start == 0 && train.client > 0);
    Stage::new(experiment()).begin(script, |mut run| {
        assert!(matches!(run.round(1), Err(Error::Round(_))));
        assert_eq!((run.state.last_round(), &run.state.weights()[..]), (0, &[0.0, 0.0][..]));
        let result = run.round(1).unwrap();
        assert_eq!((participants(&result).len(), &result.weights[..]), (4, &[2.5, 2.5][..]));
    });
}

#[test]
fn a_run_that_repeats_another_takes_its_participants() {
    let mut stage = Stage::new(changed(|of| of.clients.fraction = 0.5));
    stage.launch.replay = [(2, vec![3])].into();
    stage.begin(ScriptedClient::serve, |mut run| {
        let first = run.round(1).unwrap();
        assert_eq!((participants(&first).len(), first.trainings, first.of), (2, 2, 4));
        let second = run.round(2).unwrap();
        assert_eq!((participants(&second), second.trainings), (vec![3], 1));
        assert_eq!(second.weights[..], trained(3, &[0.0, 0.0]));
    });
}

/// Returns `true` for a request that a client fails to do.
type Fails = fn(&Request) -> bool;

/// Returns the script of a client that answers `fails` with a failure of its model.
fn refusing(fails: Fails) -> impl Fn(&mut ScriptedClient) -> ExitStatus {
    move |client| {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        while let Some((request, parts)) = client.next() {
            if fails(&request) {
                client.say(&Reply::Failed { kind: FailureKind::Model, message: "too large".into() }, None);
            } else {
                client.answer(&request, parts);
            }
        }
        exit(0)
    }
}

#[test]
fn the_strategy_is_named_as_a_suspect_unless_it_is_the_mean() {
    let train: Fails = |request| matches!(request, Request::Train(_));
    let evaluate: Fails = |request| matches!(request, Request::Evaluate(_));
    let (none, unscored) = ("0 of 4 clients returned an update (quorum 2)", "round 1 could not be evaluated");
    let strategy = " from the weights of --strategy fedavgm";
    let cases = [
        ("fedavg", train, format!("round 1 failed: {none}: ")),
        ("fedavgm", train, format!("round 1 failed: {none}{strategy}")),
        ("fedavg", evaluate, format!("{unscored}: ")),
        ("fedavgm", evaluate, format!("{unscored}{strategy}")),
    ];
    for (strategy, fails, expected) in cases {
        let stage = Stage::new(Experiment { strategy: strategy.parse().unwrap(), ..experiment() });
        let why = stage.begin(refusing(fails), |mut run| run.round(1)).unwrap_err().to_string();
        assert!(why.starts_with(&expected) && why.contains("too large"), "{strategy}: {why}");
    }
}

/// A chance that no client meets leaves every round empty.
#[test]
fn a_round_without_a_client_leaves_the_weights_and_the_state_and_is_recorded() {
    let empty = changed(|of| {
        let rows = StrategyRows {
            sample: Some("poisson:0.0000001".parse().unwrap()),
            server: Some("momentum".parse().unwrap()),
            ..StrategyRows::default()
        };
        of.strategy.rules = rows.into();
        of.clients.min_clients = Some(1);
    });
    let stage = Stage::new(empty);
    stage.begin(failing(|_, _| true), |mut run| {
        let before = run.state.weights().clone();
        let result = run.round(1).unwrap();
        assert_eq!((&result.weights, result.trainings, result.training_loss), (&before, 0, None));
        assert!(result.server.is_empty(), "no momentum was made");
        run.commit(1, result, std::time::Instant::now()).unwrap();
        let history = stage.history();
        let line = &history.rounds[0];
        assert_eq!((line.clients, line.failed, line.participants.len(), line.bytes_sent), (0, 0, 0, 0));
        assert!(line.update_norms.is_empty() && line.training_loss.is_none() && line.loss.unwrap().get() > 0.0);
    });
}

/// The trace has no client in round 2.
#[test]
fn clients_are_sampled_where_they_are_available() {
    let traced =
        changed(|of| of.clients.availability = Some("rounds:0=1-1,1=1-1/3-3,2=1-1,3=1-1/3-9".parse().unwrap()));
    Stage::new(traced).begin(failing(|_, _| false), |mut run| {
        let mut clients = |round| {
            let result = run.round(round).unwrap();
            result.updates.iter().map(|update| update.header.client).collect::<Vec<_>>()
        };
        assert_eq!([1, 2, 3, 4].map(&mut clients), [vec![0, 1, 2, 3], vec![], vec![1, 3], vec![3]]);
    });
}

/// Under `fedexp` a round scores the mean of its weights and those before, and the state has it.
#[test]
fn the_mean_of_the_last_two_weights_is_the_result_of_fedexp() {
    let stage = Stage::new(changed(|of| of.strategy = "fedexp".parse().unwrap()));
    stage.begin(failing(|_, _| false), |mut run| {
        for round in 1..=2 {
            let before = run.state.weights().clone();
            let result = run.round(round).unwrap();
            let mean: Vec<f32> = before.iter().zip(&*result.weights).map(|(was, is)| (was + is) / 2.0).collect();
            run.commit(round, result, std::time::Instant::now()).unwrap();
            assert_eq!(run.state.output(&stage.experiment).as_slice(), mean);
            assert_ne!(run.state.output(&stage.experiment), run.state.weights());
        }
    });
}
