//! The sums over the predictions of a real target. RMSE, MAE and R² follow from them.

use serde::{Deserialize, Serialize};

use crate::message::number_or_null;

/// The sums over some examples with a real target, in order, in f64.
///
/// A sum that is NaN or infinite is `null` in JSON, which is read as NaN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RegressionSums {
    /// The sum of (prediction − target)².
    #[serde(deserialize_with = "number_or_null")]
    pub squared_error: f64,
    /// The sum of |prediction − target|.
    #[serde(deserialize_with = "number_or_null")]
    pub absolute_error: f64,
    /// The sum of the targets.
    #[serde(deserialize_with = "number_or_null")]
    pub target_sum: f64,
    /// The sum of the squares of the targets.
    #[serde(deserialize_with = "number_or_null")]
    pub target_square_sum: f64,
}

impl RegressionSums {
    /// Returns these sums plus those of further examples.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self {
            squared_error: self.squared_error + more.squared_error,
            absolute_error: self.absolute_error + more.absolute_error,
            target_sum: self.target_sum + more.target_sum,
            target_square_sum: self.target_square_sum + more.target_square_sum,
        }
    }

    /// Returns `true` if `examples` predictions and targets that are f32 can have these sums. No sum over blocks or
    /// clients then overflows.
    pub fn is_possible(&self, examples: u64) -> bool {
        let most = f64::from(f32::MAX);
        let upto = |sum: f64, each: f64| (0.0..=examples as f64 * each).contains(&sum);
        upto(self.squared_error, 4.0 * most * most)
            && upto(self.absolute_error, 2.0 * most)
            && upto(self.target_sum.abs(), most)
            && upto(self.target_square_sum, most * most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMS: RegressionSums =
        RegressionSums { squared_error: 1.0, absolute_error: 2.0, target_sum: -3.0, target_square_sum: 4.0 };

    #[test]
    fn sums_of_parts_are_added_member_by_member() {
        let expected =
            RegressionSums { squared_error: 2.0, absolute_error: 4.0, target_sum: -6.0, target_square_sum: 8.0 };
        assert_eq!(SUMS.plus(SUMS), expected);
    }

    #[test]
    fn sums_that_no_examples_have_are_impossible() {
        assert!(SUMS.is_possible(1) && RegressionSums::default().is_possible(0));
        assert!(!SUMS.is_possible(0), "no example has an error");
        let wrong = [
            RegressionSums { squared_error: -1.0, ..SUMS },
            RegressionSums { absolute_error: f64::NAN, ..SUMS },
            RegressionSums { target_sum: f64::NEG_INFINITY, ..SUMS },
            RegressionSums { target_square_sum: 1e300, ..SUMS },
        ];
        wrong.iter().for_each(|sums| assert!(!sums.is_possible(1), "{sums:?}"));
    }
}
