//! Tests of the training of a round whose clients follow a script.

use std::{
    process::ExitStatus,
    sync::{Condvar, Mutex},
    time::Duration,
};

use fedpipe_protocol::{Kind, LOCAL, Part, Place, Ready, Tensor, Update, WEIGHTS};
use fedpipe_strategy::strategy::StrategyRows;

use super::*;
use crate::{
    process::scripted::{ScriptedClient, exit, ready},
    run::{
        aggregate::weighted_mean,
        scripted_run::{Stage, experiment, failing},
    },
};

/// The time after which a test that failed ends; no test that passes waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The order in which clients answer.
struct Turns {
    order: Vec<u32>,
    answered: Mutex<usize>,
    changed: Condvar,
}

impl Turns {
    fn new(order: &[u32]) -> Self {
        Self { order: order.to_vec(), answered: Mutex::new(0), changed: Condvar::new() }
    }

    /// Waits until it is this client's turn.
    fn wait(&self, client: u32) {
        let is_early = |answered: &mut usize| self.order.get(*answered).is_some_and(|&next| next != client);
        drop(self.changed.wait_timeout_while(self.answered.lock().unwrap(), PATIENCE, is_early).unwrap());
    }

    fn pass(&self) {
        *self.answered.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

/// Returns weights whose sum depends on the order of the summands.
fn weights(client: u32) -> [f32; 2] {
    [[0.1, 1e9], [1e-9, -0.7], [3e7, 1e-12], [-3e7, 0.3]][client as usize]
}

/// Returns the script of a client that trains to [`weights`]. The host takes the updates in the order of `turns`.
fn taking_turns(turns: &Arc<Turns>) -> impl Fn(&mut ScriptedClient) -> ExitStatus + Send + Sync + 'static {
    let turns = Arc::clone(turns);
    move |client| {
        client.greet();
        client.say(&Reply::Ready(Ready { version: "2".into(), ..ready() }), None);
        while let Some((request, parts)) = client.next() {
            match &request {
                Request::Train(train) => {
                    turns.wait(train.client);
                    client
                        .say(&Reply::Update(Update::plain(train.client, train.round, 1)), Some(&weights(train.client)));
                }
                _ => client.answer(&request, parts),
            }
        }
        exit(0)
    }
}

#[test]
fn the_sum_is_in_client_order_whatever_the_order_of_arrival() {
    let all = [0, 1, 2, 3].map(weights);
    let members: Vec<(f64, &[f32])> = all.iter().map(|weights| (1.0, weights.as_slice())).collect();
    let mean: Vec<u32> = weighted_mean(&members).into_iter().map(f32::to_bits).collect();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let (stage, turns) = (Stage::new(experiment()), Arc::new(Turns::new(&order)));
        let mut arrived = Vec::new();
        let mut observer = |event: &Event<'_>| {
            if let Event::Trained { client, .. } = event {
                arrived.push(*client);
                turns.pass();
            }
            Ok(())
        };
        let result = stage.begin_observed(&mut observer, taking_turns(&turns), |mut run| run.round(1)).unwrap();
        assert_eq!(arrived, order);
        let bits: Vec<u32> = result.weights.iter().map(|weight| weight.to_bits()).collect();
        assert_eq!(bits, mean, "{order:?}");
        let clients: Vec<u32> = result.updates.iter().map(|update| update.header.client).collect();
        assert_eq!(clients, [0, 1, 2, 3]);
    }
}

#[test]
fn an_update_that_was_retried_has_its_place_in_the_sum_and_a_dropped_one_has_none() {
    use fedpipe_record::experiment::OnFailure;
    for (on_failure, expected, clients) in
        [(OnFailure::Retry, 2.5, vec![0, 1, 2, 3]), (OnFailure::Drop, 8.0 / 3.0, vec![0, 2, 3])]
    {
        let mut experiment = experiment();
        experiment.clients.on_failure = on_failure;
        let stage = Stage::new(experiment);
        let script = failing(|client, train| train.client == 1 && client.start == 0);
        let result = stage.begin(script, |mut run| run.round(1)).unwrap();
        assert_eq!(result.weights[..], [expected; 2]);
        assert_eq!(result.updates.iter().map(|update| update.header.client).collect::<Vec<_>>(), clients);
    }
}

/// The model has one shared weight and one local. Client k moves both by k + 1.
#[test]
fn the_values_of_local_tensors_leave_the_update_for_the_state() {
    let tensor = |name: &str, place| Tensor { name: name.into(), shape: vec![1], kind: Kind::Param, place };
    let layout = vec![tensor("w", Place::Shared), tensor("head", Place::Local)];
    let script = move |client: &mut ScriptedClient| {
        client.serve_as(Ready { layout: layout.clone(), ..ready() });
        exit(0)
    };
    let rows = StrategyRows { aggregate: Some("median".parse().unwrap()), ..StrategyRows::default() };
    let mut experiment = experiment();
    experiment.strategy.rules = rows.into();
    Stage::new(experiment).begin(script, |mut run| {
        let updates = run.train(1, &[0, 1, 2]).unwrap().updates;
        let weights: Vec<&[f32]> = updates.iter().map(|update| update.weights.as_slice()).collect();
        assert_eq!(weights, [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]);
        let own: Vec<f32> = updates.iter().map(|update| update.after.vector(LOCAL).unwrap()[0]).collect();
        assert_eq!(own, [1.0, 2.0, 3.0]);
        // The state is that of a model with two local values.
        let mut other = Slots::default();
        other.set_vector(LOCAL, vec![1.0, 2.0]);
        run.state.clients.commit(1, &[(2, &other)]).unwrap();
        let why = run.train(2, &[1, 2]).unwrap_err().to_string();
        assert!(why.contains("the state of client 2 has 2 values of local tensors, and the run 1;"), "{why}");
    });
}

/// The client is blamed, and not the strategy, whose step by these numbers would leave the range.
#[test]
fn an_accumulation_that_no_local_optimiser_has_is_a_rejected_update() {
    for accumulation in [Some(1e-3), Some(1e3), None] {
        let experiment = Experiment { strategy: "fednova".parse().unwrap(), ..experiment() };
        let script = move |client: &mut ScriptedClient| {
            client.greet();
            client.say(&Reply::Ready(ready()), None);
            while let Some((request, parts)) = client.next() {
                match &request {
                    Request::Train(train) if train.client == 3 => {
                        let update = Update { accumulation, ..Update::plain(3, train.round, 1) };
                        client.say(&Reply::Update(update), Some(&[1e12, -1e12]));
                    }
                    _ => client.answer(&request, parts),
                }
            }
            exit(0)
        };
        let stage = Stage::new(experiment);
        let mut crashes = Vec::new();
        let mut observer = |event: &Event<'_>| {
            if let Event::Crashed(crash) = event {
                crashes.push((crash.client, crash.crash.cause.to_string()));
            }
            Ok(())
        };
        let result = stage.begin_observed(&mut observer, script, |mut run| run.round(1)).unwrap();
        // The mean of those that moved by 1, 2 and 3 in a step each.
        assert_eq!((result.updates.len(), &result.weights[..]), (3, &[2.0; 2][..]));
        let [(Some(3), cause)] = &crashes[..] else { panic!("{crashes:?}") };
        assert!(cause.contains("by which the strategy divides; sgd:") && cause.contains(" has 1 to 1"), "{cause}");
    }
}

#[test]
fn a_row_has_the_received_weights_scored_on_the_rows_that_it_needs() {
    let cases = [
        ("fedavg", false, None),
        ("fedavg", true, Some(ScoreStart::Rows)),
        ("q-fedavg:2", false, Some(ScoreStart::All)),
        ("q-fedavg:2", true, Some(ScoreStart::All)),
    ];
    for (strategy, until_converged, expected) in cases {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&asked);
        let script = failing(move |_, train| {
            requests.lock().unwrap().push(train.score_start);
            false
        });
        let strategy = strategy.parse().unwrap();
        Stage::new(Experiment { strategy, until_converged, ..experiment() }).begin(script, |mut run| {
            let result = run.round(1).unwrap();
            assert_eq!(result.start_loss.is_some(), expected.is_some());
            // The step of q-FedAvg is shorter than the mean change.
            let is_mean = expected != Some(ScoreStart::All);
            assert_eq!(result.weights[..] == [2.5; 2], is_mean, "{:?}", result.weights);
        });
        assert_eq!(*asked.lock().unwrap(), [expected; 4]);
    }
}

/// All clients return the same weight: 10, 5 and 2.5 in the rounds 1 to 3. Then h/α is −10, 5 and 2.5, and the weights
/// are 20, 0 and 0.
#[test]
fn a_state_of_feddyn_far_above_the_weights_is_told_once() {
    let script = |client: &mut ScriptedClient| {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        while let Some((request, parts)) = client.next() {
            match &request {
                Request::Train(Train { client: number, round, .. }) => {
                    let weights = [20.0 / f32::from(1_u16 << round); 2];
                    let update = Update { accumulation: Some(1.0), ..Update::plain(*number, *round, 1) };
                    client.send(&Reply::Update(update), &[Part::F32(WEIGHTS, &weights)]);
                }
                _ => client.answer(&request, parts),
            }
        }
        exit(0)
    };
    let mut warnings = Vec::new();
    let mut observer = |event: &Event<'_>| {
        if let Event::Warning(warning) = event {
            warnings.push((*warning).to_owned());
        }
        Ok(())
    };
    let stage = Stage::new(Experiment { strategy: "feddyn:0.5".parse().unwrap(), ..experiment() });
    stage.begin_observed(&mut observer, script, |mut run| {
        for (round, expected) in [(1, 20.0), (2, 0.0), (3, 0.0)] {
            let result = run.round(round).unwrap();
            assert_eq!(result.weights[..], [expected; 2]);
            run.commit(round, result, std::time::Instant::now()).unwrap();
        }
    });
    let told = "round 2: the client term dynamic:alpha=0.5: h/α is more than 10 times as long as the weights";
    assert!(warnings.len() == 1 && warnings[0].starts_with(told), "{warnings:?}");
}

/// Returns an experiment with one process for twelve clients.
fn one_process(strategy: &str) -> Experiment {
    let mut experiment = Experiment { strategy: strategy.parse().unwrap(), ..experiment() };
    (experiment.clients.count, experiment.execution.processes) = (12, Some(1));
    experiment
}

#[test]
fn buffers_are_used_again_within_a_round_unless_a_rule_needs_all_updates() {
    for (strategy, most) in [("fedavg", 5), ("fedavgm:beta=0", 5), ("fedprox:0.1", 5), ("median", 12)] {
        let experiment = match strategy {
            "median" => {
                let rows = StrategyRows { aggregate: Some("median".parse().unwrap()), ..StrategyRows::default() };
                let mut experiment = one_process("fedavg");
                experiment.strategy.rules = rows.into();
                experiment
            }
            strategy => one_process(strategy),
        };
        let features = vec![fedpipe_protocol::feature::PROXIMAL.to_owned()];
        let script = move |client: &mut ScriptedClient| {
            client.serve_as(Ready { features: features.clone(), examples: vec![1; 12], ..ready() });
            exit(0)
        };
        Stage::new(experiment).begin(script, |mut run| {
            for round in 1..=3 {
                let result = run.round(round).unwrap();
                assert_eq!(
                    (result.updates.len(), &result.weights[..]),
                    (12, &[6.5 * round as f32; 2][..]),
                    "{strategy}"
                );
                run.commit(round, result, std::time::Instant::now()).unwrap();
                // The process may fill another buffer while the host adds four.
                let buffers = run.clients.spare.count();
                assert!((1..=most).contains(&buffers), "{strategy}: {buffers} buffers after round {round}");
                assert_eq!(buffers == 12, strategy == "median");
            }
        });
    }
}

#[test]
fn a_round_below_the_quorum_leaves_no_sum_to_the_next() {
    // Three of the first processes fail, two updates after the first.
    let script = failing(|client, train| client.start == 0 && train.client > 0);
    let mut experiment = experiment();
    experiment.clients.min_clients = Some(4);
    Stage::new(experiment).begin(script, |mut run| {
        let why = run.round(1).unwrap_err().to_string();
        assert!(why.contains("1 of 4 clients returned an update (quorum 4)"), "{why}");
        assert_eq!(run.round(1).unwrap().weights[..], [2.5, 2.5]);
    });
}

/// Returns an experiment whose strategy has these rows.
fn with_rows(rows: StrategyRows) -> Experiment {
    let mut experiment = experiment();
    experiment.strategy.rules = rows.into();
    experiment
}

/// Each client trains to its number + 1 for each weight.
#[test]
fn the_updates_of_clients_that_attack_are_altered_and_those_out_of_range_are_absent() {
    let rows = |attack: &str| StrategyRows { attack: Some(attack.parse().unwrap()), ..StrategyRows::default() };
    for attack in ["none", "zero:0.25", "sign-flip:0.25", "nan:0.25", "sign-flip:fraction=0.25,scale=1e30"] {
        let stage = Stage::new(with_rows(rows(attack)));
        let attackers = stage.experiment.attackers();
        let is_absent = attack.contains("nan") || attack.contains("1e30");
        let (initial, result) =
            stage.begin(failing(|_, _| false), |mut run| (run.state.weights()[0], run.round(1).unwrap()));
        assert_eq!((&result.attackers, attackers.len()), (&attackers, usize::from(attack != "none")), "{attack}");
        let sent = |client: u32| {
            let own = client as f32 + 1.0;
            match attack {
                "zero:0.25" if attackers.contains(&client) => Some(initial),
                "sign-flip:0.25" if attackers.contains(&client) => Some(2.0 * initial - own),
                _ => (!is_absent || !attackers.contains(&client)).then_some(own),
            }
        };
        let expected: Vec<f32> = (0..4).filter_map(sent).collect();
        assert_eq!(result.updates.len(), expected.len(), "{attack}");
        assert_eq!(result.weights[0], expected.iter().sum::<f32>() / expected.len() as f32, "{attack}");
        assert_eq!(result.trainings, 4);
    }
}

#[test]
fn a_round_without_enough_updates_after_an_attack_fails_with_the_cause() {
    let rows = StrategyRows { attack: Some("nan:0.75".parse().unwrap()), ..StrategyRows::default() };
    let why = Stage::new(with_rows(rows)).begin(failing(|_, _| false), |mut run| run.round(1).unwrap_err().to_string());
    assert!(why.contains("1 of 4 clients returned an update (quorum 2)"), "{why}");
    assert!(why.contains("weight 0 is NaN after the attack nan:fraction=0.75"), "{why}");
}

/// Returns what `of` says of each request to train in the first round.
fn of_requests<T: Send + 'static>(
    experiment: Experiment,
    of: impl Fn(&Train) -> T + Send + Sync + 'static,
) -> BTreeMap<u32, T> {
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let seen = Arc::clone(&asked);
    let script = failing(move |_, train| {
        seen.lock().unwrap().insert(train.client, of(train));
        false
    });
    Stage::new(experiment).begin(script, |mut run| drop(run.round(1).unwrap()));
    let mut asked = asked.lock().unwrap();
    std::mem::take(&mut *asked)
}

#[test]
fn only_the_clients_that_attack_flip_their_labels() {
    let rows = StrategyRows { attack: Some("label-flip:0.5".parse().unwrap()), ..StrategyRows::default() };
    let experiment = with_rows(rows);
    let attackers = experiment.attackers();
    let flips = of_requests(experiment, |train| train.flip_labels);
    assert_eq!((attackers.len(), flips.len()), (2, 4));
    assert!(flips.iter().all(|(client, flips)| *flips == attackers.contains(client)), "{flips:?}");
}

#[test]
fn stragglers_do_a_part_of_the_epochs_or_are_not_asked() {
    let uneven = |uneven: &str| {
        let mut experiment = experiment();
        experiment.local.epochs = fedpipe_record::epochs::Epochs(9.0);
        experiment.local.uneven = uneven.parse().unwrap();
        let stragglers = experiment.stragglers(1, &[1; 4]);
        (of_requests(experiment, |train| train.phases[0].epochs), stragglers)
    };
    let (epochs, stragglers) = uneven("stragglers:0.5");
    assert_eq!((epochs.len(), stragglers.len()), (4, 2));
    for (client, epochs) in epochs {
        assert_eq!(epochs < 9, stragglers.contains(&client), "client {client} with {epochs}");
    }
    let (epochs, stragglers) = uneven("stragglers:fraction=0.5,drop=true");
    assert!(epochs.len() == 2 && epochs.keys().all(|client| !stragglers.contains(client)), "{epochs:?}");
}

/// A client that is drawn twice trains once and counts twice.
#[test]
fn a_client_counts_for_each_time_that_it_is_drawn() {
    let mut experiment = with_rows(StrategyRows {
        sample: Some("by-size:true".parse().unwrap()),
        weighting: Some("equal".parse().unwrap()),
        ..StrategyRows::default()
    });
    // A round whose four draws have a client twice.
    let seed = (0..).find(|&seed| {
        experiment.seed = fedpipe_record::seed::Seed(seed);
        experiment.sample(1, &[1; 4]).len() < 4
    });
    experiment.seed = fedpipe_record::seed::Seed(seed.unwrap());
    let (draws, clients) = (experiment.draws(1, &[1; 4]), experiment.sample(1, &[1; 4]));
    let expected = draws.iter().map(|client| *client as f32 + 1.0).sum::<f32>() / 4.0;
    let result = Stage::new(experiment).begin(failing(|_, _| false), |mut run| run.round(1).unwrap());
    assert_eq!((draws.len(), result.updates.len()), (4, clients.len()));
    assert_eq!(result.weights[0], expected);
}
