//! Compares the scores of clients and of classes with those in the ledger.

use fedpipe_record::{by_class::ByClass, client_scores::ClientScores};

use super::differences::unequal;

/// Returns the difference between the scores of clients. Only a client that a crash left unscored may be missing
/// in the ledger, and is not compared.
pub(super) fn of_clients(
    what: &str,
    recorded: &Option<ClientScores>,
    now: &Option<ClientScores>,
    is_unscored: &dyn Fn(u32) -> bool,
) -> Option<String> {
    let clients = |scores: &Option<ClientScores>| scores.as_ref().map_or(Vec::new(), |scores| scores.clients.clone());
    let known = clients(recorded);
    let is_missing = |client: &u32| known.binary_search(client).is_err() && !is_unscored(*client);
    if let Some(client) = clients(now).into_iter().find(is_missing) {
        return Some(format!("{what} lack client {client} in the ledger, which has no crash in its place"));
    }
    let (recorded, now) = match (recorded, now) {
        (Some(recorded), Some(now)) => (recorded, now),
        (None, _) => return None,
        (Some(_), None) => return Some(format!("{what} are missing here")),
    };
    let sums = |scores: &ClientScores, client: u32| {
        let index = scores.clients.binary_search(&client).ok()?;
        let (correct, errors) = (scores.correct.get(index).copied(), scores.error_sums.get(index).copied());
        Some((scores.examples[index], correct, errors, scores.loss_sums[index]))
    };
    let differs = |&&client: &&u32| sums(recorded, client) != sums(now, client);
    if let Some(&client) = recorded.clients.iter().find(differs) {
        return unequal(&format!("{what} of client {client} are"), &sums(recorded, client), &sums(now, client));
    }
    let shared = now.of_the_clients_in(recorded).ok().flatten();
    (shared.as_ref() != Some(recorded)).then(|| format!("{what} do not follow from those of the clients"))
}

/// Returns the difference between the scores by class.
pub(super) fn of_classes(recorded: &ByClass, now: &ByClass) -> Option<String> {
    let rows = recorded.confusion.iter().zip(&now.confusion).enumerate();
    let mut different = rows.filter(|(_, (recorded, now))| recorded != now);
    match different.next() {
        Some((label, (recorded, now))) => unequal(&format!("the predictions for class {label} are"), recorded, now),
        None => (recorded != now).then(|| "the scores by class do not follow from the predictions".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_record::{client_scores::ClientScore, finite::Finite};

    use super::*;

    /// Returns the scores of so many clients, the last of which predicted so many of 3 examples.
    fn scores(clients: u32, correct: u64) -> Option<ClientScores> {
        let score = |client| ClientScore {
            client,
            examples: 3,
            correct: Some(if client + 1 == clients { correct } else { 1 }),
            errors: None,
            loss_sum: 1.0,
        };
        ClientScores::new(&(0..clients).map(score).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_first_client_that_differs_is_named() {
        let difference = |recorded, now| of_clients("the scores", &recorded, &now, &|_| false);
        assert_eq!(difference(scores(3, 1), scores(3, 1)), None);
        let why = difference(scores(3, 1), scores(3, 2)).unwrap();
        assert!(why.starts_with("the scores of client 2 are\n  here:           [3,2,"), "{why}");
        assert!(difference(scores(2, 1), None).unwrap().ends_with("are missing here"));
        let mut edited = scores(3, 1).unwrap();
        edited.loss.mean = Finite::ZERO;
        assert!(difference(Some(edited), scores(3, 1)).unwrap().ends_with("do not follow from those of the clients"));
    }

    /// A crash of a client's process costs its score.
    #[test]
    fn a_client_without_a_recorded_score_is_not_compared() {
        let difference = |recorded, now, dropped: &[u32]| {
            of_clients("the scores", &recorded, &now, &|client| dropped.contains(&client))
        };
        assert_eq!(difference(scores(1, 1), scores(2, 3), &[1]), None);
        assert_eq!(difference(None, scores(2, 3), &[0, 1]), None);
        assert!(difference(scores(2, 3), scores(1, 1), &[1]).is_some());
        for (recorded, dropped, missing) in [(scores(1, 1), &[0][..], 1), (None, &[0], 1), (None, &[], 0)] {
            let why = difference(recorded, scores(2, 3), dropped).unwrap();
            assert!(why.starts_with(&format!("the scores lack client {missing} in the ledger")), "{why}");
        }
    }

    #[test]
    fn the_first_class_whose_predictions_differ_is_named() {
        let scores = |hits| ByClass::new(&[3, 1, 0, hits], 2, None);
        assert_eq!(of_classes(&scores(2), &scores(2)), None);
        let why = of_classes(&scores(2), &scores(3)).unwrap();
        assert_eq!(why, "the predictions for class 1 are\n  here:           [0,3]\n  in the ledger:  [0,2]");
        let edited = ByClass { auc: Some(scores(2).macro_f1), ..scores(2) };
        assert!(of_classes(&edited, &scores(2)).unwrap().contains("do not follow from the predictions"));
    }
}
