//! The weighted mean (McMahan 2017, Algorithm 1).

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Updates};
use crate::vector_math::Math;

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "mean",
    summary: "the weighted mean of the clients' weights",
    parameters: &[],
    source: "McMahan 2017, Algorithm 1",
    build: |_| Arc::new(Mean),
};

#[derive(Debug)]
struct Mean;

impl Aggregator for Mean {
    /// Returns Σ p_k w_k with p_k = n_k / Σ n.
    fn aggregate(&self, updates: &Updates<'_>, math: &dyn Math) -> Vec<f32> {
        let members: Vec<_> = updates.members.iter().map(|member| (member.weight, member.weights)).collect();
        math.combine(&members, members.iter().map(|(weight, _)| weight).sum())
    }

    fn is_mean(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregator::{Member, testing::update},
        vector_math::OneCore,
    };

    #[test]
    fn it_is_the_closed_form() {
        let (one, three) = (update(0, 1, 1), update(1, 3, 1));
        let members = [
            Member { update: &one, weight: 1.0, weights: &[1.0, -2.0] },
            Member { update: &three, weight: 3.0, weights: &[5.0, 2.0] },
        ];
        let updates = Updates { received: &[0.0, 0.0], members: &members, is_proximal: false, learning_rate: 0.1 };
        assert_eq!(Mean.aggregate(&updates, &OneCore), [4.0, 1.0]);
    }
}
