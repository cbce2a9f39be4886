//! Multi-Krum (Blanchard 2017, section 5): the equal mean of the m updates with the least scores of Krum.
//!
//! The scores are computed once. Of equal scores the lowest clients count.

use std::{borrow::Cow, sync::Arc};

use fedpipe_spec::table::{Parameter, Range, TableRow, Value};

use super::{
    Aggregator, Updates, equal_mean,
    krum::{self, FAULTY, nearest_to_others},
};
use crate::{slots::Slots, vector_math::Math};

const CHOSEN: Parameter = Parameter {
    key: "m",
    default: Some(Value::Text(Cow::Borrowed("n-f-2"))),
    range: Range::NumberOr { number: &Range::Count, word: "n-f-2", wants: "a whole number from 1, or n-f-2" },
    help: "the updates of the mean, at most n − f; above n − f − 2 the proof does not hold",
};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "multi-krum",
    summary: "the equal mean of the m updates with the least scores of krum",
    parameters: &[FAULTY, CHOSEN],
    source: "Blanchard 2017, section 5",
    build: |values| {
        let chosen = values.number_or_word("m").map(|m| m as usize);
        Arc::new(MultiKrum { f: values.count("f") as usize, chosen })
    },
};

#[derive(Debug)]
struct MultiKrum {
    f: usize,
    chosen: Option<usize>,
}

impl Aggregator for MultiKrum {
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let rows = updates.rows();
        let count = self.chosen.unwrap_or(rows.len().saturating_sub(self.f + 2)).max(1);
        let chosen = nearest_to_others(&rows, self.f, count, math);
        equal_mean(&chosen.into_iter().map(|place| rows[place]).collect::<Vec<_>>(), math)
    }

    fn faulty(&self, _: usize) -> Option<usize> {
        Some(self.f)
    }

    fn is_weighted(&self) -> bool {
        false
    }

    fn least_updates(&self) -> u32 {
        krum::least_updates(self.f).max((self.chosen.unwrap_or(1) + self.f) as u32)
    }

    fn bound(&self) -> &'static str {
        "n ≥ 2f + 3 and n ≥ m + f"
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;
    use crate::aggregator::testing::aggregate;

    /// The scores of 0, 1, 3, 7, 8 and 100 with f = 1 are 59, 41, 29, 53, 75 and more.
    #[test]
    fn it_is_the_mean_of_the_updates_amid_the_others() {
        let rows = [[0.0], [1.0], [3.0], [7.0], [8.0], [100.0]];
        assert_eq!(aggregate("multi-krum:f=1", &rows), [(1.0 + 3.0 + 7.0) / 3.0_f32]);
        assert_eq!(aggregate("multi-krum:f=1,m=1", &rows), aggregate("krum:f=1", &rows));
        assert_eq!(aggregate("multi-krum:f=1,m=5", &rows), [19.0_f32 / 5.0]);
    }

    #[test]
    fn more_than_n_minus_f_are_never_chosen() {
        let least = |text: &str| text.parse::<Named<dyn Aggregator>>().unwrap().least_updates();
        assert_eq!(["multi-krum:2", "multi-krum:f=2,m=4", "multi-krum:f=2,m=9"].map(least), [7, 7, 11]);
    }
}
