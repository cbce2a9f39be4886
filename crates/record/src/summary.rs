//! The result of a run, as `summary.json` keeps it.

use fedpipe_data::{DatasetTarget, counted};
use serde::{Deserialize, Serialize};

use crate::{
    by_class::ByClass,
    client_scores::ClientScores,
    error::{Error, Result},
    experiment::Experiment,
    finite::Finite,
    regression::Regression,
    round_line::{InitialScore, Round},
    target::TargetTime,
};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The model's name.
    pub model: String,
    /// The command of a client that is a program of the user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The dataset's name.
    pub dataset: String,
    /// The number of clients.
    pub clients: u32,
    /// Rounds that were completed.
    pub rounds: u64,
    /// The strategy, as the user would type it.
    pub strategy: String,
    /// The partition scheme, as the user would type it.
    pub partition: String,
    /// The run's seed.
    pub seed: u64,
    /// The accuracy of the final weights on the test set, from 0 to 1; left out for a real target, if no round was
    /// completed, and if there are [local tensors](Self::local_tensors).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Finite>,
    /// The errors of the final weights on the test set: `rmse`, `mae` and `r2`; left out for classes, if no round was
    /// completed, and if there are local tensors.
    #[serde(flatten)]
    pub regression: Option<Regression>,
    /// Mean test loss of the final weights; `None` if no round was completed, and if there are local tensors.
    pub loss: Option<Finite>,
    /// The scores on the held-out examples of clients that train, as the last round has them that scored clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<ClientScores>,
    /// The scores after the same round of the clients that have a model of their own, each with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<ClientScores>,
    /// The scores on the held-out examples of clients that never train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_clients: Option<ClientScores>,
    /// The scores of the final weights by class, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_class: Option<ByClass>,
    /// The name of each class; left out if the dataset has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The time until the target of the experiment; left out if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetTime>,
    /// The accuracy of the initial weights on the test set; `None` for a real target, and if the run ended before they
    /// were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_accuracy: Option<Finite>,
    /// The RMSE of the initial weights on the test set; `None` for classes, and if the run ended before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_rmse: Option<Finite>,
    /// Mean test loss of the initial weights, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_loss: Option<Finite>,
    /// `true` if a round was better than the initial weights and than a guess; `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_fell: Option<bool>,
    /// The tensors that stay with each client, of which the final weights have the initial values; left out if there
    /// are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_tensors: Vec<String>,
    /// SHA-256 of the final weights: little-endian f32 in layout order.
    pub weights_sha256: String,
    /// From the start of the process to the end of the last round.
    pub wall_seconds: Finite,
    /// The virtual seconds from the start of the run to the final weights; left out without a clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_seconds: Option<Finite>,
    /// Client processes that crashed.
    pub failures: u64,
    /// `true` if a client was left out of a round, so that another run may have other bits.
    pub clients_dropped: bool,
    /// Why the run ended.
    pub stopped: Stop,
}

/// The reason why a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The rounds are done.
    Rounds,
    /// The loss of the received weights falls no more.
    Converged,
    /// The target is reached.
    Reached,
    /// The run has neither converged nor reached its target, but the rounds allowed are done.
    MaxRounds,
    /// This signal stopped the run.
    Signal(i32),
    /// A round failed, for this reason.
    Failed(String),
}

/// The facts of a run that follow neither from its experiment nor from its rounds.
#[derive(Debug, Clone)]
pub struct RunFacts<'r> {
    /// The model's name.
    pub model: &'r str,
    /// The dataset's name.
    pub dataset: &'r str,
    /// The kind of the dataset's targets.
    pub target: &'r DatasetTarget,
    /// The score of the initial weights.
    pub initial: Option<InitialScore>,
    /// The scores of the final weights by class.
    pub by_class: Option<ByClass>,
    /// The names of the tensors that stay with each client.
    pub local_tensors: Vec<String>,
    /// SHA-256 of the final weights.
    pub weights_sha256: String,
    /// From the start of the process to the end of the last round.
    pub wall_seconds: Finite,
    /// Client processes that crashed.
    pub failures: u64,
    /// The reason for the end.
    pub stopped: Stop,
}

/// Returns `true` if a round is better than the initial weights and than a guess. Its test loss must be below that of
/// the initial weights.
///
/// In addition, its loss is below ln(`classes`) or its accuracy above 1.5 / `classes`. For a real target, which has no
/// classes, a guess is the mean of the test targets: the squared error is below their variance. Not known if clients
/// have models of their own, of which the test loss says nothing.
fn loss_fell(initial: Option<Finite>, classes: Option<u32>, rounds: &[Round]) -> Option<bool> {
    let is_global = rounds.iter().all(|round| round.personal.is_none());
    let initial = initial.filter(|_| !rounds.is_empty() && is_global)?.get();
    let losses: Vec<f64> = rounds.iter().map(|round| round.loss.map(Finite::get)).collect::<Option<_>>()?;
    let beats_a_guess = |(round, loss): (&Round, f64)| match (classes.map(f64::from), round.accuracy) {
        (Some(classes), Some(accuracy)) => loss < libm::log(classes) || accuracy.get() > 1.5 / classes,
        _ => round.regression.is_some_and(|errors| errors.beats_the_mean()),
    };
    Some(rounds.iter().zip(losses).any(|(round, loss)| loss < initial && beats_a_guess((round, loss))))
}

impl Summary {
    /// Returns the summary of a run with these rounds, from 1 on.
    pub fn new(experiment: &Experiment, rounds: &[Round], facts: RunFacts<'_>) -> Self {
        let RunFacts { model, dataset, target, initial, .. } = facts;
        let RunFacts { by_class, local_tensors, weights_sha256, wall_seconds, failures, stopped, .. } = facts;
        let last = rounds.last();
        // A strategy before the last one may have had models of the clients' own, or none.
        let scored = rounds.iter().rev().find(|round| round.used_models().is_some());
        let initial_loss = initial.map(|score| score.loss);
        Self {
            model: model.to_owned(),
            client: experiment.client.clone(),
            dataset: dataset.to_owned(),
            clients: experiment.clients.count,
            rounds: last.map_or(0, |round| round.round),
            strategy: experiment.strategy_name(),
            partition: experiment.data.partition.to_string(),
            seed: experiment.seed.0,
            accuracy: last.and_then(|round| round.accuracy),
            regression: last.and_then(|round| round.regression),
            loss: last.and_then(|round| round.loss),
            held_out: scored.and_then(|round| round.held_out.clone()),
            personal: scored.and_then(|round| round.personal.clone()),
            new_clients: rounds.iter().rev().find_map(|round| round.new_clients.clone()),
            by_class,
            class_names: target.given_names().to_vec(),
            target: experiment.until.map(|target| target.time(experiment.measured_on(), rounds)),
            initial_accuracy: initial.and_then(|score| score.accuracy),
            initial_rmse: initial.and_then(|score| score.regression).map(|errors| errors.rmse),
            initial_loss,
            loss_fell: loss_fell(initial_loss, target.class_count(), rounds),
            local_tensors,
            weights_sha256,
            wall_seconds,
            virtual_seconds: last.and_then(|round| round.virtual_seconds),
            failures,
            clients_dropped: rounds.iter().any(|round| round.failed > 0),
            stopped,
        }
    }

    /// Returns the title of the run in a picture.
    pub fn title(&self) -> String {
        let Self { model, dataset, clients, strategy, seed, .. } = self;
        format!("{model} on {dataset}: {}, {strategy}, seed {seed}", counted(*clients, "client"))
    }

    /// Returns the text of `summary.json`.
    ///
    /// # Errors
    /// Returns [`Error::Encoding`], which no summary meets.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Encoding(error.to_string()))?;
        Ok(format!("{text}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finite(number: f64) -> Finite {
        Finite::try_from(number).unwrap()
    }

    /// Returns a round without a correct prediction.
    fn round(loss: f64) -> Round {
        Round { loss: Some(finite(loss)), accuracy: Some(Finite::ZERO), clients: 1, ..Round::blank(1) }
    }

    #[test]
    fn a_loss_fell_if_any_round_was_below_the_initial_one() {
        let initial = Some(finite(1.0));
        assert_eq!(loss_fell(initial, Some(10), &[round(2.0), round(0.5), round(3.0)]), Some(true));
        assert_eq!(loss_fell(initial, Some(10), &[round(1.0)]), Some(false));
        assert_eq!(loss_fell(initial, Some(10), &[]), None);
        assert_eq!(loss_fell(None, Some(10), &[round(0.5)]), None);
        // There is no test loss where tensors stay with the clients.
        let unscored = Round { loss: None, accuracy: None, ..round(0.5) };
        assert_eq!(loss_fell(initial, Some(10), &[round(0.5), unscored]), None);
        // A guess among 10 classes has a loss of ln 10, and an accuracy of 0.1.
        let initial = Some(finite(2.385));
        let guess = |accuracy: f64| Round { accuracy: Some(finite(accuracy)), ..round(2.307) };
        assert_eq!(
            [0.1, 0.15, 0.6].map(|accuracy| loss_fell(initial, Some(10), &[guess(accuracy)])),
            [0.1, 0.15, 0.6].map(|a| Some(a > 0.15))
        );
    }

    #[test]
    fn a_guess_of_a_real_target_is_its_mean() {
        let round = |loss, r2: Option<f64>| {
            let regression = Some(Regression { rmse: finite(1.0), mae: finite(1.0), r2: r2.map(finite) });
            Round { accuracy: None, regression, ..round(loss) }
        };
        let fell = |loss, r2| loss_fell(Some(finite(100.0)), None, &[round(loss, r2)]);
        assert_eq!(fell(50.0, Some(0.25)), Some(true));
        assert_eq!(fell(50.0, Some(0.0)), Some(false), "the mean is as good");
        assert_eq!(fell(100.0, Some(0.25)), Some(false), "the initial weights are as good");
        assert_eq!(fell(50.0, None), Some(false), "equal targets leave nothing to learn");
    }
}
