//! The scores of weights on the held-out examples of clients, and their distribution over the clients.

use fedpipe_protocol::RegressionSums;
use serde::{Deserialize, Serialize};

use crate::{
    finite::{Finite, NotFinite},
    regression::Regression,
};

/// The sums over the held-out examples of one client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientScore {
    /// The client.
    pub client: u32,
    /// The number of examples, at least one.
    pub examples: u64,
    /// The number of examples whose class was predicted; `None` for a real target.
    pub correct: Option<u64>,
    /// The sums of the errors of a real target; `None` for classes.
    pub errors: Option<RegressionSums>,
    /// The sum of the losses.
    pub loss_sum: f64,
}

/// The scores of some clients, with their distribution. The lists have one entry a client, in client order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientScores {
    /// The distribution of the accuracy, from 0 to 1; left out for a real target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Distribution>,
    /// The distribution of the root of the mean squared error; left out for classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<Distribution>,
    /// The distribution of the mean loss.
    pub loss: Distribution,
    /// The errors over the examples of all clients; left out for classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Regression>,
    /// The clients that were scored, ascending.
    pub clients: Vec<u32>,
    /// The number of examples of each client.
    pub examples: Vec<u64>,
    /// The number of examples whose class was predicted; left out for a real target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub correct: Vec<u64>,
    /// The sums of the errors; left out for classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_sums: Vec<RegressionSums>,
    /// The sum of the losses.
    pub loss_sums: Vec<Finite>,
}

/// The distribution of a score over clients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// The score over all examples: each client counts by the number of its examples.
    pub mean: Finite,
    /// The score of the worst client: the least accuracy, the greatest RMSE, or the greatest loss.
    pub worst: Finite,
    /// The mean over the worst tenth of the clients, rounded up; each client counts once.
    pub worst_decile: Finite,
    /// The standard deviation over the clients; each client counts once.
    pub spread: Finite,
}

impl ClientScores {
    /// Returns the scores of these clients, which ascend; `None` if there is no client.
    ///
    /// # Errors
    /// A number that is not finite. The sums of checked replies have none.
    pub fn new(scores: &[ClientScore]) -> Result<Option<Self>, NotFinite> {
        if scores.is_empty() {
            return Ok(None);
        }
        let total: u64 = scores.iter().map(|score| score.examples).sum();
        let mean = |sum: f64| sum / total as f64;
        let examples: Vec<u64> = scores.iter().map(|score| score.examples).collect();
        let correct: Vec<u64> = scores.iter().filter_map(|score| score.correct).collect();
        let error_sums: Vec<RegressionSums> = scores.iter().filter_map(|score| score.errors).collect();
        let errors = error_sums.iter().copied().reduce(RegressionSums::plus);
        let errors = errors.map(|sums| Regression::new(&sums, total)).transpose()?;
        let loss_sum = scores.iter().fold(0.0, |sum, score| sum + score.loss_sum);
        let losses = scores.iter().map(|score| score.loss_sum / score.examples as f64).collect();
        let accuracies: Vec<f64> = ratios(&correct, &examples).collect();
        let of_accuracy = || Distribution::new(mean(correct.iter().sum::<u64>() as f64), accuracies, Worst::Least);
        let of_errors =
            |errors: Regression| Distribution::new(errors.rmse.get(), roots(&error_sums, &examples), Worst::Greatest);
        Ok(Some(Self {
            accuracy: (!correct.is_empty()).then(of_accuracy).transpose()?,
            rmse: errors.map(of_errors).transpose()?,
            loss: Distribution::new(mean(loss_sum), losses, Worst::Greatest)?,
            errors,
            clients: scores.iter().map(|score| score.client).collect(),
            loss_sums: scores.iter().map(|score| Finite::try_from(score.loss_sum)).collect::<Result<_, _>>()?,
            examples,
            correct,
            error_sums,
        }))
    }

    /// Returns the accuracy of each client, in client order; nothing for a real target.
    pub fn accuracies(&self) -> impl Iterator<Item = f64> {
        ratios(&self.correct, &self.examples)
    }

    /// Returns the root of the mean squared error of each client, in client order; nothing for classes.
    pub fn rmses(&self) -> Vec<f64> {
        roots(&self.error_sums, &self.examples)
    }

    /// Returns the scores of those of the clients that `other` has.
    ///
    /// # Errors
    /// Those of [`ClientScores::new`].
    pub fn of_the_clients_in(&self, other: &Self) -> Result<Option<Self>, NotFinite> {
        let score = |(index, &client): (usize, &u32)| ClientScore {
            client,
            examples: self.examples[index],
            correct: self.correct.get(index).copied(),
            errors: self.error_sums.get(index).copied(),
            loss_sum: self.loss_sums[index].get(),
        };
        let scores = self.clients.iter().enumerate().map(score);
        let shared: Vec<_> = scores.filter(|score| other.clients.binary_search(&score.client).is_ok()).collect();
        Self::new(&shared)
    }
}

/// Returns the ratios of two lists of counts.
fn ratios<'c>(counts: &'c [u64], wholes: &'c [u64]) -> impl Iterator<Item = f64> + 'c {
    counts.iter().zip(wholes).map(|(count, whole)| *count as f64 / *whole as f64)
}

/// Returns the roots of the mean squared errors.
fn roots(sums: &[RegressionSums], examples: &[u64]) -> Vec<f64> {
    sums.iter().zip(examples).map(|(sums, examples)| (sums.squared_error / *examples as f64).sqrt()).collect()
}

/// The end of a list of scores that is the worst.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Worst {
    Least,
    Greatest,
}

impl Distribution {
    /// Returns the distribution of at least one score.
    fn new(mean: f64, mut scores: Vec<f64>, worst: Worst) -> Result<Self, NotFinite> {
        scores.sort_by(f64::total_cmp);
        if worst == Worst::Greatest {
            scores.reverse();
        }
        let decile = &scores[..scores.len().div_ceil(10)];
        let average = |scores: &[f64]| scores.iter().fold(0.0, |sum, score| sum + score) / scores.len() as f64;
        let centre = average(&scores);
        let squares = scores.iter().fold(0.0, |sum, score| sum + (score - centre) * (score - centre));
        Ok(Self {
            mean: mean.try_into()?,
            worst: scores[0].try_into()?,
            worst_decile: average(decile).try_into()?,
            spread: (squares / scores.len() as f64).sqrt().try_into()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(counts: &[(u64, u64, f64)]) -> ClientScores {
        let score = |(client, &(examples, correct, loss_sum))| ClientScore {
            client,
            examples,
            correct: Some(correct),
            errors: None,
            loss_sum,
        };
        ClientScores::new(&(0..).zip(counts).map(score).collect::<Vec<_>>()).unwrap().unwrap()
    }

    fn numbers(of: Distribution) -> [f64; 4] {
        [of.mean, of.worst, of.worst_decile, of.spread].map(Finite::get)
    }

    /// The accuracies are 1, 1/2 and 1/4, the losses 1/2, 2 and 1. Their variances are 7/72 and 7/18.
    #[test]
    fn the_mean_counts_examples_and_the_other_numbers_count_clients() {
        let scores = scores(&[(2, 2, 1.0), (4, 2, 8.0), (4, 1, 4.0)]);
        assert_eq!(numbers(scores.accuracy.unwrap())[..3], [0.5, 0.25, 0.25]);
        assert_eq!(numbers(scores.loss)[..3], [1.3, 2.0, 2.0]);
        assert!((scores.accuracy.unwrap().spread.get() - (7.0_f64 / 72.0).sqrt()).abs() < 1e-15);
        assert!((scores.loss.spread.get() - (7.0_f64 / 18.0).sqrt()).abs() < 1e-15);
        assert_eq!(scores.accuracies().collect::<Vec<_>>(), [1.0, 0.5, 0.25]);
    }

    #[test]
    fn the_worst_decile_has_a_tenth_of_the_clients_rounded_up() {
        let with = |clients: u64| {
            let counts: Vec<_> = (0..clients).map(|client| (100, (client * 13 + 3) % clients, 1.0)).collect();
            scores(&counts).accuracy.unwrap().worst_decile.get()
        };
        for (clients, expected) in [(1, 0.0), (10, 0.0), (11, 0.005), (20, 0.005), (21, 0.01)] {
            assert!((with(clients) - expected).abs() < 1e-15, "{clients} clients: {}", with(clients));
        }
    }

    #[test]
    fn equal_clients_have_no_spread_and_no_client_has_no_scores() {
        assert_eq!(numbers(scores(&[(4, 3, 2.0), (8, 6, 4.0)]).accuracy.unwrap()), [0.75, 0.75, 0.75, 0.0]);
        assert_eq!(ClientScores::new(&[]), Ok(None));
        let real = ClientScore { client: 0, examples: 2, correct: None, errors: None, loss_sum: 3.0 };
        let scores = ClientScores::new(&[real]).unwrap().unwrap();
        assert_eq!((scores.accuracy, scores.correct.len(), scores.loss.mean.get()), (None, 0, 1.5));
        let infinite = ClientScore { loss_sum: f64::INFINITY, ..real };
        assert_eq!(ClientScores::new(&[infinite]), Err(NotFinite(f64::INFINITY)));
    }

    /// The RMSEs are 2, 1 and 3. The RMSE over all 8 examples is √(36 / 8), which is not their mean.
    #[test]
    fn the_worst_client_of_a_real_target_has_the_greatest_rmse() {
        let score = |client, (examples, squared_error)| {
            let errors = RegressionSums { squared_error, target_square_sum: 1.0, ..RegressionSums::default() };
            ClientScore { client, examples, correct: None, errors: Some(errors), loss_sum: squared_error }
        };
        let all: Vec<_> = (0..).zip([(4, 16.0), (2, 2.0), (2, 18.0)]).map(|(of, sums)| score(of, sums)).collect();
        let scores = ClientScores::new(&all).unwrap().unwrap();
        let [mean, worst, decile, spread] = numbers(scores.rmse.unwrap());
        assert_eq!((mean, worst, decile), ((36.0_f64 / 8.0).sqrt(), 3.0, 3.0));
        assert!((spread - (2.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(scores.rmses(), [2.0, 1.0, 3.0]);
        let errors = scores.errors.unwrap();
        assert_eq!((errors.rmse.get(), scores.accuracy), (mean, None));
        assert_eq!(scores.of_the_clients_in(&scores), Ok(Some(scores.clone())));
        let text = serde_json::to_string(&scores).unwrap();
        assert_eq!(serde_json::from_str::<ClientScores>(&text).unwrap(), scores, "{text}");
    }

    #[test]
    fn scores_are_restricted_to_the_clients_of_others() {
        let all = scores(&[(2, 2, 1.0), (4, 2, 8.0), (4, 1, 4.0)]);
        let first = scores(&[(2, 2, 1.0), (4, 2, 8.0)]);
        assert_eq!(all.of_the_clients_in(&first), Ok(Some(first.clone())));
        assert_eq!(first.of_the_clients_in(&all), Ok(Some(first.clone())));
    }
}
