//! Tests of schedules in virtual time, whose clients follow a script: client k moves both weights by k + 1.

use std::{fs, process::ExitStatus, time::Instant};

use fedpipe_record::{
    experiment::{Experiment, OnFailure},
    round_line::{Round, TimedUpdate},
};
use fedpipe_strategy::strategy::StrategyRows;

use crate::{
    error::Result,
    process::scripted::ScriptedClient,
    run::{
        active::ActiveRun,
        scripted_run::{Stage, experiment, failing},
    },
};

/// The steps of the four clients take 1, 2, 3 and 10 seconds, and each client has one example.
const TRACE: &str = "client,slowness,bandwidth\n0,1,\n1,2,\n2,3,\n3,10,\n";

/// Returns a stage whose clients have the clock of [`TRACE`].
fn stage(strategy: &str, change: impl FnOnce(&mut Experiment)) -> (Stage, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    fs::write(&path, TRACE).unwrap();
    let mut experiment = experiment();
    experiment.strategy = strategy.parse().unwrap();
    experiment.time.clock = Some(format!("file:{}", path.display()).parse().unwrap());
    experiment.time.step_time = 1.0;
    change(&mut experiment);
    (Stage::new(experiment), folder)
}

/// Does the rounds up to `last`, each with its checkpoint.
fn do_rounds(run: &mut ActiveRun<'_>, last: u64) -> Result<()> {
    let mut saver = run.start_saver()?;
    for round in run.state.next_round()..=last {
        let result = run.round(round)?;
        run.commit(round, result, Instant::now())?;
        run.save(&mut saver)?;
    }
    saver.finish().unwrap();
    Ok(())
}

/// Returns the lines of so many rounds, without the real seconds.
fn rounds(
    strategy: &str,
    change: impl FnOnce(&mut Experiment),
    script: impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static,
    last: u64,
) -> Vec<Round> {
    let (stage, _folder) = stage(strategy, change);
    stage.begin(script, |mut run| do_rounds(&mut run, last)).unwrap();
    lines(&stage)
}

fn lines(stage: &Stage) -> Vec<Round> {
    let rounds = stage.history().rounds;
    rounds.into_iter().map(|round| Round { seconds: fedpipe_record::finite::Finite::ZERO, ..round }).collect()
}

/// Returns (client, version, start, end) of each training.
fn times(round: &Round) -> Vec<(u32, u64, f64, f64)> {
    let of = |update: &TimedUpdate| (update.client, update.version, update.start.get(), update.end.get());
    round.updates.iter().map(of).collect()
}

fn end(round: &Round) -> f64 {
    round.virtual_seconds.unwrap().get()
}

#[test]
fn a_synchronous_round_ends_with_its_slowest_client() {
    let rounds = rounds("fedavg", |_| (), ScriptedClient::serve, 2);
    assert_eq!(times(&rounds[0]), [(0, 0, 0.0, 1.0), (1, 0, 0.0, 2.0), (2, 0, 0.0, 3.0), (3, 0, 0.0, 10.0)]);
    assert_eq!((end(&rounds[0]), end(&rounds[1]), times(&rounds[1])[0]), (10.0, 20.0, (0, 1, 10.0, 11.0)));
    assert!(rounds[1].late.is_empty() && rounds[1].participants.is_empty());
}

#[test]
fn over_commitment_takes_the_first_to_arrive() {
    let over_committed = |of: &mut Experiment| {
        of.clients.fraction = 0.5;
        of.strategy.rules = rules("synchronous:over-commit=2");
    };
    let all = rounds("fedavg", over_committed, ScriptedClient::serve, 2);
    assert_eq!(times(&all[0]), [(0, 0, 0.0, 1.0), (1, 0, 0.0, 2.0)]);
    assert_eq!((end(&all[0]), end(&all[1]), &all[1].late[..]), (2.0, 4.0, &[2, 3][..]));
    assert_eq!((all[1].clients, all[1].failed, &all[1].participants[..]), (2, 0, &[0, 1][..]));
    // Client 0 vanishes, and client 2 takes its place.
    let script = failing(|_, train| train.client == 0);
    let dropped = rounds("fedavg", over_committed, script, 1);
    assert_eq!(times(&dropped[0]), [(0, 0, 0.0, 1.0), (1, 0, 0.0, 2.0), (2, 0, 0.0, 3.0)]);
    assert_eq!(dropped[0].updates.iter().map(|update| update.dropped).collect::<Vec<_>>(), [true, false, false]);
    let round = &dropped[0];
    assert_eq!((end(round), round.failed, &round.late[..], &round.participants[..]), (3.0, 1, &[3][..], &[1, 2][..]));
}

/// Returns FedAvg with another schedule.
fn rules(schedule: &str) -> fedpipe_strategy::strategy::Strategy {
    let rows = fedpipe_strategy::strategy::StrategyRows::default();
    fedpipe_strategy::strategy::StrategyRows { schedule: Some(schedule.parse().unwrap()), ..rows }.into()
}

#[test]
fn a_deadline_ends_a_round_and_work_past_it_is_not_trained() {
    let at = |deadline| move |of: &mut Experiment| of.time.deadline = Some(deadline);
    let all = rounds("fedavg", at(2.5), ScriptedClient::serve, 2);
    assert_eq!(times(&all[0]), [(0, 0, 0.0, 1.0), (1, 0, 0.0, 2.0)]);
    assert_eq!((end(&all[0]), end(&all[1]), &all[0].late[..], all[0].failed), (2.5, 5.0, &[2, 3][..], 0));
    let all = rounds("fedavg", at(10.0), ScriptedClient::serve, 1);
    assert_eq!((end(&all[0]), all[0].clients), (10.0, 4), "the deadline itself is in time");
    let (stage, _folder) = stage("fedavg", at(1.5));
    let why = stage.begin(ScriptedClient::serve, |mut run| do_rounds(&mut run, 1)).unwrap_err().to_string();
    assert_eq!(
        why,
        "round 1 failed: 1 of 4 clients would return an update within --deadline 1.5 (quorum 2); give a longer deadline, \
         or a smaller --min-clients"
    );
}

/// By hand. At 2 the clients 0 (its second training) and 1 end; client 0 comes first and fills the buffer.
#[test]
fn a_buffer_has_the_events_and_the_weights_that_are_computed_by_hand() {
    let (stage, _folder) = stage("fedbuff:size=2", |_| ());
    let weights = stage.begin(ScriptedClient::serve, |mut run| {
        let mut weights = Vec::new();
        for round in 1..=3 {
            let result = run.round(round).unwrap();
            weights.push(result.weights[0]);
            run.commit(round, result, Instant::now()).unwrap();
        }
        weights
    });
    let rounds = lines(&stage);
    assert_eq!(times(&rounds[0]), [(0, 0, 0.0, 1.0), (0, 0, 1.0, 2.0)]);
    assert_eq!(times(&rounds[1]), [(1, 0, 0.0, 2.0), (0, 1, 2.0, 3.0)]);
    assert_eq!(times(&rounds[2]), [(2, 0, 0.0, 3.0), (0, 2, 3.0, 4.0)]);
    assert_eq!(rounds.iter().map(end).collect::<Vec<_>>(), [2.0, 3.0, 4.0]);
    assert_eq!((rounds[0].clients, &rounds[0].participants[..]), (2, &[0, 0][..]));
    // 1; then 1 + ½ (2/√2 + 1); then ½ (3/√3 + 1) more.
    for (weight, expected) in weights.iter().zip([1.0, 2.207_106_8, 3.573_132_2]) {
        assert!((weight - expected).abs() < 1e-6, "{weights:?}");
    }
}

#[test]
fn fedasync_mixes_each_update_in() {
    let (stage, _folder) = stage("fedasync:alpha=0.5,mu=0,staleness=constant", |_| ());
    let weights = stage.begin(ScriptedClient::serve, |mut run| {
        let mut next = |round| {
            let result = run.round(round).unwrap();
            let weight = result.weights[0];
            run.commit(round, result, Instant::now()).unwrap();
            weight
        };
        [1, 2, 3].map(&mut next)
    });
    // Client 0 from 0, client 0 from 0.5, and client 1 from 0.
    assert_eq!(weights, [0.5, 1.0, 1.5]);
    assert_eq!(lines(&stage).iter().flat_map(times).map(|(_, version, ..)| version).collect::<Vec<_>>(), [0, 1, 0]);
}

/// The first processes of client 1 crash at each of its trainings.
#[test]
fn a_crash_changes_no_event_under_retry_and_vanishes_at_its_end_under_drop() {
    for strategy in ["fedbuff:size=2", "fedasync:mu=0", "fedavg"] {
        let whole = rounds(strategy, |_| (), ScriptedClient::serve, 5);
        let retried = failing(|client, train| train.client == 1 && client.start == 0);
        assert_eq!(rounds(strategy, |of| of.clients.on_failure = OnFailure::Retry, retried, 5), whole, "{strategy}");
    }
    let dropped = rounds("fedbuff:size=2", |_| (), failing(|_, train| train.client == 1), 3);
    assert_eq!(times(&dropped[1]), [(1, 0, 0.0, 2.0), (0, 1, 2.0, 3.0), (2, 0, 0.0, 3.0)]);
    assert_eq!((dropped[1].clients, dropped[1].failed, dropped[1].updates[0].dropped), (2, 1, true));
}

/// With one job at a time, no client trains before its update is due.
#[test]
fn the_number_of_jobs_changes_no_event_and_no_bit() {
    for strategy in ["fedbuff:size=3", "fedasync:mu=0"] {
        let with = |jobs| rounds(strategy, |of| of.execution.jobs = Some(jobs), ScriptedClient::serve, 6);
        assert_eq!(with(1), with(4), "{strategy}");
        assert_eq!(with(3), with(4), "{strategy}");
    }
}

/// Client 3, the slowest, is at work with the initial weights while the run is interrupted.
#[test]
fn clients_at_work_survive_a_resume() {
    for strategy in ["fedbuff:size=2", "fedasync:mu=0", "fedavg"] {
        let (whole, _folder) = stage(strategy, |_| ());
        whole.begin(ScriptedClient::serve, |mut run| do_rounds(&mut run, 12)).unwrap();
        let (stopped, _folder) = stage(strategy, |_| ());
        for last in [2, 7] {
            let resumed = |mut run: ActiveRun<'_>| do_rounds(&mut run, last);
            match last {
                2 => stopped.begin(ScriptedClient::serve, resumed),
                _ => stopped.resume(ScriptedClient::serve, resumed),
            }
            .unwrap();
        }
        stopped.resume(ScriptedClient::serve, |mut run| do_rounds(&mut run, 12)).unwrap();
        assert_eq!(lines(&stopped), lines(&whole), "{strategy}");
    }
}

#[test]
fn a_client_that_crashes_always_ends_the_round() {
    let (stage, _folder) = stage("fedbuff:size=2", |_| ());
    let script = failing(|_, _| true);
    let why = stage.begin(script, |mut run| do_rounds(&mut run, 1)).unwrap_err().to_string();
    assert!(
        why.contains("round 1 failed: 0 of 2 updates arrived, and ") && why.contains("exited with code 3"),
        "{why}"
    );
}

#[test]
fn a_run_that_repeats_another_has_its_dropped_trainings() {
    let (mut repeated, _folder) = stage("fedbuff:size=2", |_| ());
    let whole = rounds("fedbuff:size=2", |_| (), failing(|_, train| train.client == 1), 4);
    let dropped = whole.iter().flat_map(|round| &round.updates).filter(|update| update.dropped);
    repeated.launch.dropped = dropped.map(TimedUpdate::key).collect();
    repeated.begin(ScriptedClient::serve, |mut run| do_rounds(&mut run, 4)).unwrap();
    assert_eq!(lines(&repeated), whole);
}

/// No client is available in round 2.
#[test]
fn a_round_without_a_client_takes_no_virtual_time() {
    let traced =
        |of: &mut Experiment| of.clients.availability = Some("rounds:0=1-1/3-3,1=1-1,2=3-3,3=3-3".parse().unwrap());
    let rounds = rounds("fedavg", traced, failing(|_, _| false), 3);
    let ends: Vec<_> = rounds.iter().map(|round| round.virtual_seconds.unwrap().get()).collect();
    assert_eq!((ends[0], rounds[1].clients), (ends[1], 0));
    assert!(ends[2] > ends[1]);
}

/// One of the four clients sends NaN. Each round waits for as many honest updates as without it.
#[test]
fn a_rejected_update_is_replaced_by_the_next_one() {
    let attack = |of: &mut Experiment| {
        let mut rows: StrategyRows = of.strategy.rules.clone().into();
        rows.attack = Some("nan:0.25".parse().unwrap());
        of.strategy.rules = rows.into();
    };
    for strategy in ["fedasync", "fedbuff:size=2"] {
        let buffer = if strategy == "fedasync" { 1 } else { 2 };
        let rounds = rounds(strategy, attack, failing(|_, _| false), 6);
        assert!(rounds.iter().all(|round| round.clients == buffer), "{strategy}");
        assert!(rounds.iter().any(|round| !round.attackers.is_empty()), "{strategy}");
    }
}
