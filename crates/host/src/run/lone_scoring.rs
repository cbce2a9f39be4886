//! The scores of clients that train alone: each client's own weights on the whole test set, and the mean of the scores.

use std::{collections::BTreeMap, sync::Arc};

use fedpipe_record::{
    finite::{Finite, NotFinite},
    regression::Regression,
};
use fedpipe_strategy::closed_round::ClientUpdate;

use crate::{
    error::{Error, Result},
    run::{active::ActiveRun, client_scoring::OwnValues, round::TestScore},
};

impl ActiveRun<'_> {
    /// Scores a round on the test set: the global `weights`, or, where the clients train alone, the mean over the
    /// clients that the experiment names, each with its own weights. Without a common test set each one is scored on
    /// its own part. Where tensors stay with the clients, the global weights are no whole model and have no score.
    pub(super) fn score(
        &mut self,
        round: u64,
        updates: &[ClientUpdate],
        weights: &Arc<Vec<f32>>,
    ) -> Result<Option<TestScore>> {
        let experiment = self.context.experiment;
        if !experiment.strategy.rules.term.trains_alone() {
            let is_whole = self.clients.local_tensors()?.is_empty();
            return is_whole.then(|| self.evaluate(round, weights)).transpose();
        }
        let mut scored: Vec<u32> = updates.iter().map(|update| update.header.client).collect();
        scored = experiment.scored_clients(round, &scored);
        if scored.is_empty() || !experiment.has_test_set() {
            scored = experiment.training_list();
        }
        if !experiment.has_test_set() {
            let own = OwnValues::whole(self.own_weights(&scored, updates)?, weights.len());
            return self.score_all_clients(round, weights, &own).map(Some);
        }
        let mut scores = Vec::with_capacity(scored.len());
        for client in scored {
            let own = self.own_weights(&[client], updates)?.remove(&client);
            scores.push(self.evaluate(round, own.as_ref().unwrap_or(weights))?);
        }
        mean_score(&scores)
            .map(Some)
            .map_err(|error| Error::Round(format!("round {round} could not be evaluated: a mean score {error}")))
    }

    /// Returns the weights of those of the clients that have some of their own after the round with these updates. The
    /// others have the initial ones.
    pub(super) fn own_weights(
        &self,
        clients: &[u32],
        updates: &[ClientUpdate],
    ) -> Result<BTreeMap<u32, Arc<Vec<f32>>>> {
        let term = &self.context.experiment.strategy.rules.term;
        let mut all = BTreeMap::new();
        for &client in clients {
            let state = self.state_after(client, updates)?;
            all.extend(term.own_weights(&state).map(|own| (client, Arc::clone(own))));
        }
        Ok(all)
    }
}

/// Returns the mean of each number of some scores, at least one. A number that a score lacks is left out.
fn mean_score(scores: &[TestScore]) -> std::result::Result<TestScore, NotFinite> {
    let mean = |numbers: Option<Vec<f64>>| {
        numbers.map(|all| Finite::try_from(all.iter().sum::<f64>() / all.len() as f64)).transpose()
    };
    let of = |number: fn(&TestScore) -> Option<Finite>| {
        mean(scores.iter().map(|score| number(score).map(Finite::get)).collect())
    };
    let errors = [
        of(|score| score.regression.map(|errors| errors.rmse))?,
        of(|score| score.regression.map(|errors| errors.mae))?,
    ];
    let r2 = of(|score| score.regression.and_then(|errors| errors.r2))?;
    let regression = match errors {
        [Some(rmse), Some(mae)] => Some(Regression { rmse, mae, r2 }),
        _ => None,
    };
    let loss = scores.iter().map(|score| score.loss.get()).sum::<f64>() / scores.len() as f64;
    Ok(TestScore { loss: loss.try_into()?, accuracy: of(|score| score.accuracy)?, regression })
}

#[cfg(test)]
mod tests {
    use fedpipe_record::experiment::Experiment;
    use fedpipe_strategy::slots::Slots;

    use super::*;
    use crate::run::{
        round::RoundResult,
        scripted_run::{Stage, experiment, failing},
    };

    fn finite(number: f64) -> Finite {
        number.try_into().unwrap()
    }

    fn alone() -> Experiment {
        Experiment { strategy: "local".parse().unwrap(), ..experiment() }
    }

    fn own(result: &RoundResult) -> Vec<(u32, Vec<f32>)> {
        let of = |after: &Slots| after.vector("own").unwrap().to_vec();
        result.updates.iter().map(|update| (update.header.client, of(&update.after))).collect()
    }

    /// A scripted client moves each weight by its number and 1.
    #[test]
    fn each_client_trains_on_from_its_own_weights_and_nothing_is_sent() {
        let stage = Stage::new(alone());
        stage.begin(failing(|_, train| train.client == 2 && train.round == 2), |mut run| {
            let initial = Arc::clone(run.state.weights());
            let mut before: Vec<(u32, Vec<f32>)> = (0..4).map(|client| (client, initial.to_vec())).collect();
            for round in 1..=3 {
                let result = run.round(round).unwrap();
                let moved = own(&result);
                for (client, weights) in &moved {
                    let step = (client + 1) as f32;
                    let start = &before[*client as usize].1;
                    assert!(weights.iter().zip(start).all(|(now, was)| now - was == step), "{client}: {weights:?}");
                    before[*client as usize].1.clone_from(weights);
                }
                assert_eq!(moved.len(), if round == 2 { 3 } else { 4 }, "a crash costs a client its round");
                assert_eq!(result.weights, initial, "the global weights are the initial ones");
                assert!(result.updates.iter().all(|update| (update.bytes_sent, update.bytes_received) == (0, 0)));
                assert!(result.updates.iter().all(|update| update.norm > 0.0 && update.weights.is_empty()));
                run.commit(round, result, std::time::Instant::now()).unwrap();
            }
        });
    }

    #[test]
    fn the_score_of_a_round_is_the_mean_over_the_clients() {
        let of = |loss, accuracy| TestScore { loss: finite(loss), accuracy: Some(finite(accuracy)), regression: None };
        assert_eq!(mean_score(&[of(0.5, 0.25), of(1.5, 0.75)]).unwrap(), of(1.0, 0.5));
        let errors = |rmse, r2: Option<f64>| TestScore {
            loss: finite(1.0),
            accuracy: None,
            regression: Some(Regression { rmse: finite(rmse), mae: finite(1.0), r2: r2.map(finite) }),
        };
        assert_eq!(mean_score(&[errors(1.0, Some(0.5)), errors(3.0, Some(0.0))]).unwrap(), errors(2.0, Some(0.25)));
        assert_eq!(mean_score(&[errors(1.0, Some(0.5)), errors(3.0, None)]).unwrap(), errors(2.0, None));
    }
}
