//! Normalised averaging, the aggregation of FedNova (Wang 2020, equations 6 and 7).

use std::sync::Arc;

use fedpipe_spec::table::TableRow;

use super::{Aggregator, Member, Updates};
use crate::{slots::Slots, vector_math::Math};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "normalised",
    summary: "each change is divided by the client's accumulated steps; FedNova",
    parameters: &[],
    source: "Wang 2020, equations 6 and 7",
    build: |_| Arc::new(Normalised),
};

#[derive(Debug)]
struct Normalised;

impl Aggregator for Normalised {
    /// Returns w − τ Σ p_k d_k with d_k = (w − w_k) / ‖a_k‖₁ and τ = Σ p_k ‖a_k‖₁. With a proximal term τ = Σ p_k K_k,
    /// as in the paper's code.
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let Updates { received, members, is_proximal, .. } = *updates;
        let total: f64 = members.iter().map(|member| member.weight).sum();
        let effective = |member: &Member<'_>| if is_proximal { steps(member) } else { accumulation(member) };
        let tau = members.iter().map(|member| member.weight * effective(member)).sum::<f64>() / total;
        let coefficient = |member: &Member<'_>| member.weight * (tau / accumulation(member));
        let moved: f64 = members.iter().map(coefficient).sum();
        let first = (total - moved, received);
        let all: Vec<_> = [first].into_iter().chain(members.iter().map(|m| (coefficient(m), m.weights))).collect();
        math.combine(&all, total)
    }

    fn needs_numbers(&self) -> bool {
        true
    }

    fn needs_accumulation(&self) -> bool {
        true
    }

    /// The coefficients may be negative, which would make a variance negative.
    fn suits_buffers(&self) -> bool {
        false
    }
}

/// Returns the local steps of the client.
fn steps(member: &Member<'_>) -> f64 {
    member.update.map_or(1.0, |update| update.steps as f64)
}

/// Returns ‖a‖₁ of the client's local optimiser, which the host has checked.
fn accumulation(member: &Member<'_>) -> f64 {
    member.update.and_then(|update| update.accumulation).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Update;

    use super::*;
    use crate::{
        aggregator::testing::{flat, update},
        vector_math::OneCore,
    };

    /// Returns the aggregate of clients with these steps and accumulations.
    fn aggregate(steps: [u64; 2], accumulations: [f64; 2], is_proximal: bool) -> Vec<f32> {
        let accumulation = accumulations.map(Some);
        let one = Update { accumulation: accumulation[0], ..update(0, 1, steps[0]) };
        let two = Update { accumulation: accumulation[1], ..update(1, 3, steps[1]) };
        let members = [
            Member { update: Some(&one), weight: 1.0, weights: &[1.5] },
            Member { update: Some(&two), weight: 3.0, weights: &[3.0] },
        ];
        let layout = flat(1);
        let updates = Updates { received: &[1.0], members: &members, is_proximal, learning_rate: 0.1, layout: &layout };
        Normalised.aggregate(&updates, &mut Slots::default(), &OneCore)
    }

    #[test]
    fn equal_accumulations_give_the_mean_and_unequal_ones_the_closed_form() {
        assert_eq!(aggregate([2, 9], [4.0, 4.0], false), [1.0 + 0.25 * 0.5 + 0.75 * 2.0]);
        // τ = 0.25 * 2 + 0.75 * 8 = 6.5
        assert_eq!(aggregate([5, 5], [2.0, 8.0], false), [(1.0 + 6.5 * (0.25 * 0.5 / 2.0 + 0.75 * 2.0 / 8.0)) as f32]);
    }

    /// τ = 0.25 * 4 + 0.75 * 12 = 10
    #[test]
    fn with_a_proximal_term_the_effective_steps_are_the_local_ones() {
        assert_eq!(aggregate([4, 12], [2.0, 8.0], true), [(1.0 + 10.0 * (0.25 * 0.5 / 2.0 + 0.75 * 2.0 / 8.0)) as f32]);
    }
}
