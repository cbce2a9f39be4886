//! The weighted mean (McMahan 2017, Algorithm 1).

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Updates};
use crate::{slots::Slots, vector_math::Math};

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
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
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
        aggregator::{Member, testing::flat},
        vector_math::OneCore,
    };

    #[test]
    fn it_is_the_closed_form() {
        let members = [
            Member { update: None, weight: 1.0, weights: &[1.0, -2.0] },
            Member { update: None, weight: 3.0, weights: &[5.0, 2.0] },
        ];
        let layout = flat(2);
        let updates =
            Updates { received: &[0.0; 2], members: &members, is_proximal: false, learning_rate: 0.1, layout: &layout };
        assert_eq!(Mean.aggregate(&updates, &mut Slots::default(), &OneCore), [4.0, 1.0]);
    }
}
