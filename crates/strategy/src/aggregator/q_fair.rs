//! q-fair averaging, the aggregation of q-FedAvg (Li 2020, q-FFL, Algorithm 2).

use std::sync::Arc;

use fedpipe_protocol::ScoreStart;
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Aggregator, Member, Updates};
use crate::{slots::Slots, vector_math::Math};

pub(crate) const Q: Parameter = Parameter {
    key: "q",
    default: None,
    range: Range::NotNegative,
    help: "the weight of clients with a great loss; 0 is the equal mean, common are 0.1 to 5",
};

pub(super) const ROW: TableRow<dyn Aggregator> = TableRow {
    name: "q-fair",
    summary: "each change counts by its client's loss of the received weights to the power of q; q-FedAvg",
    parameters: &[Q],
    source: "Li 2020 (q-FFL), Algorithm 2",
    build: |values| Arc::new(QFair { q: values.number("q") }),
};

#[derive(Debug)]
struct QFair {
    q: f64,
}

impl Aggregator for QFair {
    /// Returns w − Σ Fᵢ^q L (w − wᵢ) / Σ hᵢ with hᵢ = q Fᵢ^(q−1) ‖L (w − wᵢ)‖² + L Fᵢ^q and L = 1/η. Both sums are over
    /// the q-th power of the greatest loss, which cancels: no loss that a client may report leaves the range of f64.
    fn aggregate(&self, updates: &Updates<'_>, _: &mut Slots, math: &dyn Math) -> Vec<f32> {
        let Updates { received, members, learning_rate, .. } = *updates;
        let (q, l) = (self.q, 1.0 / f64::from(learning_rate));
        let greatest = members.iter().map(loss).fold(0.0, f64::max);
        let (mut total, mut moved, mut all) = (0.0, 0.0, vec![(0.0, received)]);
        for member in members {
            let relative = loss(member) / greatest;
            let share = libm::pow(relative, q) * l;
            let squared = l * l * math.squared_distance(received, member.weights);
            total += q * libm::pow(relative, q - 1.0) / greatest * squared + share;
            moved += share;
            all.push((share, member.weights));
        }
        all[0].0 = total - moved;
        math.combine(&all, total)
    }

    fn needs_numbers(&self) -> bool {
        true
    }

    fn score_start(&self) -> Option<ScoreStart> {
        Some(ScoreStart::All)
    }

    fn is_weighted(&self) -> bool {
        false
    }

    /// The coefficients depend on the length of the steps.
    fn suits_buffers(&self) -> bool {
        false
    }
}

/// Returns the mean loss of the received weights, which the host has checked. 10⁻¹⁰ keeps it above 0: with a q above 0,
/// clients without any loss move the weights by almost nothing.
fn loss(member: &Member<'_>) -> f64 {
    let start = member.update.and_then(|update| update.start);
    let mean = start.map_or(0.0, |start| start.loss_sum / start.examples as f64);
    mean.max(0.0) + 1e-10
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::StartScore;

    use super::*;
    use crate::{
        aggregator::testing::{flat, update},
        vector_math::OneCore,
    };

    /// Returns the aggregate of clients with these losses and weights, at η = 0.5 from 1.
    fn aggregate(q: f64, clients: &[(f64, [f32; 2])]) -> Vec<f32> {
        let start = |loss| Some(StartScore { loss_sum: 4.0 * loss, examples: 4 });
        let headers =
            clients.iter().map(|(loss, _)| fedpipe_protocol::Update { start: start(loss), ..update(0, 4, 1) });
        let headers: Vec<_> = headers.collect();
        let members = headers.iter().zip(clients);
        let members: Vec<_> =
            members.map(|(update, client)| Member { update: Some(update), weight: 1.0, weights: &client.1 }).collect();
        let layout = flat(2);
        let updates =
            Updates { received: &[1.0; 2], members: &members, is_proximal: false, learning_rate: 0.5, layout: &layout };
        QFair { q }.aggregate(&updates, &mut Slots::default(), &OneCore)
    }

    fn assert_near(got: &[f32], expected: [f64; 2]) {
        let is_near = got.iter().zip(expected).all(|(got, e)| (f64::from(*got) - e).abs() < 1e-6);
        assert!(is_near, "{got:?} {expected:?}");
    }

    /// w⁺ = w − (w − w_k) / (1 + q ‖g‖² / (L F)) with g = L (w − w_k), here (0.5, −1) times the length. In the last two
    /// cases F^q is below the range of f64.
    #[test]
    fn one_client_has_the_closed_form() {
        for (q, loss, length) in [
            (0.5, 0.3, 1.0),
            (2.0, 0.3, 1.0),
            (5.0, 2.0, 1.0),
            (20.0, 1e-4, 1e-3),
            (200.0, 1e-4, 1e-3),
            (40.0, 0.0, 1.0),
        ] {
            let shrunk = 1.0 + q * (0.25 + 1.0) * length * length / (2.0 * (loss + 1e-10));
            let expected = [1.0 - 0.25 * length / shrunk, 1.0 + 0.5 * length / shrunk];
            let weights = [1.0 - 0.25 * length, 1.0 + 0.5 * length].map(|weight| weight as f32);
            assert_near(&aggregate(q, &[(loss, weights)]), expected);
        }
    }

    #[test]
    fn the_greatest_loss_that_a_client_may_report_counts_alone() {
        for q in [2.0, 8.0, 20.0] {
            let clients = [(f64::from(f32::MAX), [2.0, 1.0]), (0.5, [1.0, 4.0]), (0.0, [-3.0, 1.0])];
            assert_eq!(aggregate(q, &clients), [2.0, 1.0], "{q}");
        }
    }

    #[test]
    fn without_q_it_is_the_equal_mean_and_with_it_a_great_loss_counts_more() {
        let clients = [(0.1, [2.0, 1.0]), (0.9, [1.0, 4.0])];
        assert_eq!(aggregate(0.0, &clients), [1.5, 2.5]);
        // q = 1: shares 0.2 and 1.8; h = 4·1 + 0.2 and 4·9 + 1.8, the squared lengths being 4·1 and 4·9.
        let total = 4.0 + 0.2 + 36.0 + 1.8;
        let expected = [1.0 + 0.2 / total, 1.0 + 1.8 * 3.0 / total];
        assert_near(&aggregate(1.0, &clients), expected);
    }
}
