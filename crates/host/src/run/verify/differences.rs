//! Compares the data and the rounds with those in the ledger.

use std::collections::BTreeSet;

use fedpipe_data::{DatasetInfo, counted};
use fedpipe_record::{history::DealtLine, round_line::Round};
use serde::Serialize;

use super::scores;

/// Returns the first difference of the data, a sentence.
pub(super) fn data_difference(recorded: &DealtLine, now: &DatasetInfo, sizes: &[u64]) -> Option<String> {
    let was = &recorded.dataset;
    let name = &was.name;
    let count = |of: &str, what: &str, now: u64, was: u64| {
        (now != was).then(|| format!("{of} has {} here, {was} in the ledger", counted(now, what)))
    };
    let of_client = |(client, (now, was)): (usize, (&u64, &u64))| {
        count(&format!("client {client}"), "training example", *now, *was)
    };
    count(name, "training example", now.train_examples, was.train_examples)
        .or_else(|| count(name, "test example", now.test_examples, was.test_examples))
        .or_else(|| {
            let hashes = format!("sha256 {:.16} here, {:.16} in the ledger", now.sha256, was.sha256);
            (now.sha256 != was.sha256).then(|| format!("the content of {name} differs ({hashes})"))
        })
        .or_else(|| count("the run", "client", sizes.len() as u64, recorded.sizes.len() as u64))
        .or_else(|| sizes.iter().zip(&recorded.sizes).enumerate().find_map(of_client))
        .or_else(|| {
            (now != was).then(|| format!("the description of {name} in the ledger is not that of the data here"))
        })
}

/// Returns the first difference between two rounds. The seconds of the rounds are not compared; nor is a score over the
/// clients' own test examples, if a crash left a client out of it.
pub(super) fn round_difference(
    recorded: &Round,
    now: &Round,
    unscored: &BTreeSet<(u64, u32)>,
    has_test_set: bool,
) -> Option<String> {
    let is_partial = !has_test_set && unscored.iter().any(|(round, _)| *round == now.round);
    let (scored, other) =
        ((recorded.accuracy, recorded.regression, recorded.loss), (now.accuracy, now.regression, now.loss));
    let (scored, other) = if is_partial { (other, other) } else { (scored, other) };
    let is_unscored = |client| unscored.contains(&(now.round, client));
    let of_clients = |what: &str, recorded, now| scores::of_clients(what, recorded, now, &is_unscored);
    let at = |what: &str| format!("round {}: {what}", now.round);
    unequal(&at("the weights first differ: they are"), &recorded.weights_sha256, &now.weights_sha256)
        .or_else(|| unequal(&at("the scored weights are"), &recorded.output_sha256, &now.output_sha256))
        .or_else(|| unequal(&at("the server's state is"), &recorded.server_sha256, &now.server_sha256))
        .or_else(|| unequal(&at("the accuracy is"), &scored.0, &other.0))
        .or_else(|| unequal(&at("the errors are"), &scored.1, &other.1))
        .or_else(|| unequal(&at("the test loss is"), &scored.2, &other.2))
        .or_else(|| of_clients(&at("the scores on held-out examples"), &recorded.held_out, &now.held_out))
        .or_else(|| of_clients(&at("the personal scores"), &recorded.personal, &now.personal))
        .or_else(|| of_clients(&at("the scores of new clients"), &recorded.new_clients, &now.new_clients))
        .or_else(|| unequal(&at("the training loss is"), &recorded.training_loss, &now.training_loss))
        .or_else(|| unequal(&at("the loss before the training is"), &recorded.start_loss, &now.start_loss))
        .or_else(|| unequal(&at("the clients' states are"), &recorded.clients_sha256, &now.clients_sha256))
        .or_else(|| {
            let [recorded, now] =
                [recorded, now].map(|round| (round.bytes_sent, round.bytes_received, round.bytes_of_states));
            unequal(&at("the bytes sent and received are"), &recorded, &now)
        })
        .or_else(|| unequal(&at("the lengths of the updates are"), &recorded.update_norms, &now.update_norms))
        .or_else(|| unequal(&at("the change of the weights is"), &recorded.weights_change, &now.weights_change))
        .or_else(|| {
            let [recorded, now] = [recorded, now].map(|round| (round.clients, &round.participants));
            unequal(&at("the participants are"), &recorded, &now)
        })
        .or_else(|| unequal(&at("the attackers are"), &recorded.attackers, &now.attackers))
        .or_else(|| unequal(&at("the updates in virtual time are"), &recorded.updates, &now.updates))
        .or_else(|| unequal(&at("the late clients are"), &recorded.late, &now.late))
        .or_else(|| unequal(&at("the virtual seconds are"), &recorded.virtual_seconds, &now.virtual_seconds))
}

/// Returns a sentence about two values that differ, each on a line of its own.
pub(super) fn unequal<T: PartialEq + Serialize>(what: &str, recorded: &T, now: &T) -> Option<String> {
    (recorded != now)
        .then(|| format!("{what}\n  here:           {}\n  in the ledger:  {}", shown(now), shown(recorded)))
}

/// Returns a value as the ledger has it. The end of a long one is left out.
pub(super) fn shown(value: &impl Serialize) -> String {
    const MOST: usize = 200;
    let text = serde_json::to_string(value).unwrap_or_default();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None if text == "null" => "none".to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{
        client_scores::{ClientScore, ClientScores},
        finite::Finite,
        regression::Regression,
        round_line::TimedUpdate,
    };

    use super::*;

    fn scores(correct: u64) -> Option<ClientScores> {
        ClientScores::new(&[ClientScore {
            client: 0,
            examples: 3,
            correct: Some(correct),
            errors: None,
            loss_sum: 1.0,
        }])
        .unwrap()
    }

    #[test]
    fn a_difference_of_the_data_is_one_plain_sentence() {
        let json = serde_json::json!({
            "name": "reg.csv", "sha256": "aa", "shape": [4], "classes": 2, "train_examples": 320, "test_examples": 80,
            "sample": false,
        });
        let dataset: DatasetInfo = serde_json::from_value(json).unwrap();
        let recorded = DealtLine {
            dataset: dataset.clone(),
            sizes: vec![160, 160],
            held_out: vec![],
            label_counts: vec![],
            partitions_sha256: String::new(),
        };
        let cases = [
            (
                DatasetInfo { train_examples: 319, ..dataset.clone() },
                vec![160, 159],
                "reg.csv has 319 training examples here, 320 in the ledger",
            ),
            (
                DatasetInfo { test_examples: 1, ..dataset.clone() },
                vec![160, 160],
                "reg.csv has 1 test example here, 80 in the ledger",
            ),
            (
                DatasetInfo { sha256: "bb".into(), ..dataset.clone() },
                vec![160, 160],
                "the content of reg.csv differs (sha256 bb here, aa in the ledger)",
            ),
            (dataset.clone(), vec![320], "the run has 1 client here, 2 in the ledger"),
            (dataset.clone(), vec![159, 161], "client 0 has 159 training examples here, 160 in the ledger"),
            (
                DatasetInfo { shape: vec![5], ..dataset.clone() },
                vec![160, 160],
                "the description of reg.csv in the ledger is not that of the data here",
            ),
        ];
        for (now, sizes, expected) in cases {
            assert_eq!(data_difference(&recorded, &now, &sizes).as_deref(), Some(expected));
        }
        assert_eq!(data_difference(&recorded, &dataset, &[160, 160]), None);
    }

    #[test]
    fn every_number_of_a_round_but_its_time_is_compared() {
        let finite = |number: f64| Finite::try_from(number).unwrap();
        let recorded = Round {
            accuracy: Some(finite(0.5)),
            loss: Some(finite(1.0)),
            training_loss: Some(finite(1.0)),
            clients: 4,
            weights_sha256: "w".into(),
            held_out: scores(2),
            personal: scores(2),
            new_clients: scores(2),
            ..Round::blank(3)
        };
        let difference = |now: &Round| round_difference(&recorded, now, &BTreeSet::new(), true);
        assert_eq!(difference(&Round { seconds: finite(2.0), ..recorded.clone() }), None);
        let better = Round { accuracy: Some(finite(0.6)), ..recorded.clone() };
        let with =
            |crashed, has_test_set| round_difference(&recorded, &better, &BTreeSet::from([crashed]), has_test_set);
        assert_eq!(with((3, 1), false), None, "the score of client 1 is not in the ledger");
        assert!(with((3, 1), true).is_some() && with((2, 1), false).is_some());
        let errors = Regression { rmse: finite(1.0), mae: finite(1.0), r2: None };
        let timed = TimedUpdate { client: 1, version: 0, start: finite(0.0), end: finite(1.0), dropped: false };
        let others = [
            ("the weights first differ", Round { weights_sha256: "x".into(), ..recorded.clone() }),
            ("the server's state is", Round { server_sha256: Some("s".into()), ..recorded.clone() }),
            ("the accuracy is", Round { accuracy: Some(finite(0.6)), ..recorded.clone() }),
            ("the errors are", Round { regression: Some(errors), ..recorded.clone() }),
            ("the test loss is", Round { loss: Some(finite(2.0)), ..recorded.clone() }),
            ("the scored weights are", Round { output_sha256: Some("o".into()), ..recorded.clone() }),
            ("the training loss is", Round { training_loss: Some(finite(2.0)), ..recorded.clone() }),
            ("the change of the weights is", Round { weights_change: Some(finite(0.1)), ..recorded.clone() }),
            ("the lengths of the updates are", Round { update_norms: vec![1.0], ..recorded.clone() }),
            ("the loss before the training is", Round { start_loss: Some(finite(0.1)), ..recorded.clone() }),
            ("the clients' states are", Round { clients_sha256: Some("c".into()), ..recorded.clone() }),
            ("the bytes sent and received are", Round { bytes_sent: 1, ..recorded.clone() }),
            ("the participants are", Round { participants: vec![1], ..recorded.clone() }),
            ("the participants are", Round { clients: 3, ..recorded.clone() }),
            ("the attackers are", Round { attackers: vec![1], ..recorded.clone() }),
            ("the updates in virtual time are", Round { updates: vec![timed], ..recorded.clone() }),
            ("the late clients are", Round { late: vec![1], ..recorded.clone() }),
            ("the virtual seconds are", Round { virtual_seconds: Some(finite(1.0)), ..recorded.clone() }),
            ("the scores on held-out examples", Round { held_out: scores(1), ..recorded.clone() }),
            ("the scores on held-out examples", Round { held_out: None, ..recorded.clone() }),
            ("the personal scores", Round { personal: scores(3), ..recorded.clone() }),
            ("the scores of new clients", Round { new_clients: scores(3), ..recorded.clone() }),
        ];
        for (expected, now) in others {
            let difference = difference(&now).unwrap();
            assert!(difference.starts_with("round 3: ") && difference.contains(expected), "{difference}");
        }
    }
}
