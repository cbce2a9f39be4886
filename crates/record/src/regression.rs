//! The errors of predictions of a real target.

use fedpipe_protocol::RegressionSums;
use serde::{Deserialize, Serialize};

use crate::finite::{Finite, NotFinite};

/// The errors of predictions of a real target, in place of an accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Regression {
    /// The root of the mean squared error, in units of the target.
    pub rmse: Finite,
    /// The mean absolute error, in units of the target.
    pub mae: Finite,
    /// The coefficient of determination R²: 1 less the mean squared error over the variance of the targets. A guess of
    /// their mean has 0. It is left out if all targets are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<Finite>,
}

impl Regression {
    /// Returns the errors that the sums over some examples give.
    ///
    /// # Errors
    /// A number that is not finite, as for no examples.
    pub fn new(sums: &RegressionSums, examples: u64) -> Result<Self, NotFinite> {
        let n = examples as f64;
        let &RegressionSums { squared_error, absolute_error, target_sum, target_square_sum } = sums;
        // Equal targets leave a rest of rounding, at most one unit for each sum.
        let total = target_square_sum - target_sum * target_sum / n;
        let varies = total > n * f64::EPSILON * target_square_sum;
        Ok(Self {
            rmse: (squared_error / n).sqrt().try_into()?,
            mae: (absolute_error / n).try_into()?,
            r2: varies.then(|| Finite::try_from(1.0 - squared_error / total)).transpose()?,
        })
    }

    /// Returns `true` if the predictions are better than a guess of the mean of the targets.
    pub fn beats_the_mean(&self) -> bool {
        self.r2.is_some_and(|r2| r2.get() > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regression(pairs: &[(f64, f64)]) -> Regression {
        let sum = |of: fn(f64, f64) -> f64| pairs.iter().fold(0.0, |sum, &(y, target)| sum + of(y, target));
        let sums = RegressionSums {
            squared_error: sum(|y, target| (y - target) * (y - target)),
            absolute_error: sum(|y, target| (y - target).abs()),
            target_sum: sum(|_, target| target),
            target_square_sum: sum(|_, target| target * target),
        };
        Regression::new(&sums, pairs.len() as u64).unwrap()
    }

    /// The example of scikit-learn's `r2_score`: R² is 0.9486081370449679, the MSE 0.375 and the MAE 0.5.
    #[test]
    fn the_errors_are_those_of_scikit_learn() {
        let errors = regression(&[(2.5, 3.0), (0.0, -0.5), (2.0, 2.0), (8.0, 7.0)]);
        assert_eq!((errors.rmse.get(), errors.mae.get()), (0.375_f64.sqrt(), 0.5));
        assert!((errors.r2.unwrap().get() - 0.9486081370449679).abs() < 1e-15, "{errors:?}");
        assert!(errors.beats_the_mean());
    }

    #[test]
    fn a_guess_of_the_mean_has_an_r2_of_0_and_equal_targets_have_none() {
        let mean = regression(&[(2.0, 1.0), (2.0, 3.0)]);
        assert_eq!((mean.r2.map(Finite::get), mean.beats_the_mean()), (Some(0.0), false));
        let equal = regression(&[(0.5, 0.1); 7]);
        assert_eq!((equal.r2, equal.beats_the_mean()), (None, false));
        assert!(Regression::new(&RegressionSums::default(), 0).is_err());
    }

    #[test]
    fn an_unknown_r2_is_left_out() {
        let errors = regression(&[(1.0, 2.0), (1.0, 2.0)]);
        let text = serde_json::to_string(&errors).unwrap();
        assert_eq!(text, r#"{"rmse":1.0,"mae":1.0}"#);
        assert_eq!(serde_json::from_str::<Regression>(&text).unwrap(), errors);
    }
}
