//! The coordinate-wise trimmed mean (Yin 2018, definition 2).

use std::{borrow::Cow, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{Aggregator, Updates, by_sorted};
use crate::{
    slots::Slots,
    sorted_columns::{COLUMNS, ColumnBlock},
    vector_math::Math,
};

const BETA: Parameter = Parameter {
    key: "beta",
    default: Some(Value::Number(0.1)),
    range: Range::BelowHalf,
    help: "β, the share of the clients that is left out at each end of each weight, rounded down",
};
const FAULTY: Parameter = Parameter {
    key: "f",
    default: Some(Value::Text(Cow::Borrowed("beta"))),
    range: Range::NumberOr {
        number: &Range::WholeNumber,
        word: "beta",
        wants: "a whole number from 0, or beta for the share",
    },
    help: "the number that is left out at each end, in the place of the share",
};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "trimmed-mean",
    summary: "the equal mean of each weight without its least and greatest values",
    parameters: &[BETA, FAULTY],
    source: "Yin 2018, definition 2",
    build: |values| {
        let number = values.number_or_word("f").map(|f| f as usize);
        Arc::new(TrimmedMean { beta: values.number("beta"), number })
    },
};

#[derive(Debug)]
struct TrimmedMean {
    beta: f64,
    /// The number that is left out, in the place of the share.
    number: Option<usize>,
}

impl TrimmedMean {
    /// Returns the number of values that are left out at each end of `count`.
    fn left_out(&self, count: usize) -> usize {
        self.number.unwrap_or_else(|| share_of(self.beta, count))
    }
}

impl Aggregator for TrimmedMean {
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let (rows, left_out) = (updates.rows(), self.left_out(updates.members.len()));
        by_sorted(&rows, left_out..rows.len() - left_out, math, &mean_of)
    }

    fn faulty(&self, count: usize) -> Option<usize> {
        Some(self.left_out(count))
    }

    fn is_weighted(&self) -> bool {
        false
    }

    /// With fewer updates none is left out, and the rule is the mean.
    fn least_updates(&self) -> u32 {
        match self.number {
            Some(number) => 2 * number as u32 + 1,
            None if self.beta == 0.0 => 1,
            // A product of 1 - ROUNDING is the least that [`share_of`] takes for 1.
            None => ((1.0 - ROUNDING) / self.beta).ceil() as u32,
        }
    }

    fn bound(&self) -> &'static str {
        if self.number.is_some() { "n ≥ 2f + 1" } else { "n ≥ 1/β; of fewer it leaves out none" }
    }
}

/// The share that f64 may take away from a product βn which is a whole number.
const ROUNDING: f64 = 1e-9;

/// Returns ⌊βn⌋.
fn share_of(beta: f64, count: usize) -> usize {
    (beta * count as f64 + ROUNDING) as usize
}

/// Returns the mean of each column, summed in ascending order, so that the order of the clients has no part in it.
pub(super) fn mean_of(sorted: &[ColumnBlock]) -> ColumnBlock {
    let mut sums = [0.0_f64; COLUMNS];
    for row in sorted {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums.map(|sum| (sum / sorted.len() as f64) as f32)
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::aggregator::testing::aggregate;

    fn by_beta(beta: f64, rows: &[[f32; 3]]) -> Vec<f32> {
        aggregate(&format!("trimmed-mean:beta={beta}"), rows)
    }

    /// The values that ByzFL's trimmed mean has for f = 1.
    #[test]
    fn it_has_the_value_of_byzfl_in_any_order() {
        let rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];
        assert_eq!(by_beta(1.0 / 3.0, &rows), [4.0, 5.0, 6.0]);
        assert_eq!(aggregate("trimmed-mean:f=1", &rows), [4.0, 5.0, 6.0]);
        assert_eq!(by_beta(0.0, &rows), [4.0, 5.0, 6.0]);
        let five = [[0.1, 1.0, -1.0], [0.2, 1.0, 5.0], [0.7, 1.0, 2.0], [-9.0, 1.0, 0.25], [1e30, 1.0, -1e30]];
        let expected = [(1.0_f32 / 3.0, 1.0), (0.2, 1.25 / 3.0)];
        let trimmed = by_beta(0.2, &five);
        assert!((trimmed[0] - expected[0].0).abs() < 1e-7 && (trimmed[2] - expected[1].1).abs() < 1e-7, "{trimmed:?}");
        let mut turned = five;
        turned.rotate_left(2);
        assert_eq!((by_beta(0.2, &turned), trimmed[1]), (trimmed.clone(), 1.0));
        assert_eq!(aggregate("trimmed-mean:f=1", &five), trimmed);
    }

    #[test]
    fn the_fewest_updates_are_the_first_number_of_which_any_is_left_out() {
        let rule = |text: &str| text.parse::<Named<dyn Aggregator>>().unwrap();
        for (beta, least) in [(0.1, 10), (0.3, 4), (1.0 / 3.0, 3), (1.0 / 49.0, 49), (0.49, 3), (0.07, 15)] {
            let rule = rule(&format!("trimmed-mean:beta={beta}"));
            assert_eq!(rule.least_updates(), least, "{beta}");
            assert_eq!([least - 1, least].map(|count| rule.faulty(count as usize)), [Some(0), Some(1)], "{beta}");
        }
        assert_eq!(["0", "1e-30"].map(|b| rule(&format!("trimmed-mean:beta={b}")).least_updates()), [1, u32::MAX]);
        assert_eq!(["trimmed-mean:f=3", "median"].map(|text| rule(text).least_updates()), [7, 1]);
    }

    #[test]
    fn a_share_is_rounded_down_and_leaves_one_value() {
        for (beta, count, expected) in
            [(0.1, 9, 0), (0.1, 10, 1), (0.3, 10, 3), (0.29, 100, 29), (0.49, 3, 1), (0.499, 2, 0), (0.0, 7, 0)]
        {
            assert_eq!(share_of(beta, count), expected, "{beta} of {count}");
            assert!(2 * expected < count);
        }
        let refused = "trimmed-mean:beta=0.5".parse::<Named<dyn Aggregator>>().unwrap_err().to_string();
        assert!(refused.contains("beta=0.5; give a number of at least 0 and below 0.5"), "{refused}");
    }
}
