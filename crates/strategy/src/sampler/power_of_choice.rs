//! Power-of-choice: of some candidates, the clients with the greatest losses (Cho 2020, Algorithm 1, π_pow-d).
//!
//! d candidates are drawn by the examples of those that are left, without replacement. Each one is asked for the loss
//! of the global weights over all of its training rows. The clients with the greatest losses take part. Of equal
//! losses the client with the lower number does; the paper draws among them. The paper weighs the updates equally.

use std::sync::Arc;

use fedpipe_random::order::weighted_order;
use fedpipe_spec::table::{Parameter, Range, TableRow};

use super::{Draw, Sampler};

pub(super) const ROW: TableRow<dyn Sampler> = TableRow {
    name: "power-of-choice",
    summary: "of candidates that are drawn by size, the clients to which the global weights give the greatest losses",
    parameters: &[Parameter {
        key: "candidates",
        default: None,
        range: Range::Count,
        help: "d, the clients that are asked for their loss, at least those of a round",
    }],
    source: "Cho 2020, Algorithm 1",
    build: |values| Arc::new(PowerOfChoice { candidates: values.count("candidates") }),
};

#[derive(Debug)]
struct PowerOfChoice {
    candidates: u32,
}

impl Sampler for PowerOfChoice {
    /// Returns the candidates, of which [`Sampler::choose`] takes some.
    fn draw(&self, draw: &Draw<'_>) -> Vec<u32> {
        let candidates = self.candidates.max(draw.count);
        Draw { count: candidates, ..*draw }.first_of(weighted_order(&draw.key(), draw.sizes))
    }

    fn asks_losses(&self) -> bool {
        true
    }

    fn choose(&self, count: u32, losses: &[(u32, f64)]) -> Vec<u32> {
        let mut by_loss = losses.to_vec();
        by_loss.sort_by(|(client, loss), (other, of_other)| of_other.total_cmp(loss).then(client.cmp(other)));
        let mut chosen: Vec<u32> = by_loss.into_iter().take(count as usize).map(|(client, _)| client).collect();
        chosen.sort_unstable();
        chosen
    }

    fn refusal(&self, count: u32, all: u32) -> Option<String> {
        let asked = self.candidates;
        (asked < count || asked > all).then(|| {
            format!(
                "the candidates are {asked}, the clients {all}, and those of a round {count}; give {count} to {all}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_spec::table::Named;

    use super::*;

    const RULE: PowerOfChoice = PowerOfChoice { candidates: 6 };

    /// As many candidates as clients of a round are sampling by size.
    #[test]
    fn candidates_are_drawn_by_size_and_those_with_the_greatest_losses_are_chosen() {
        let sizes = [10, 20, 30, 40, 50, 60, 70, 80];
        let draw = Draw { seed: 3, round: 2, count: 2, sizes: &sizes };
        let candidates = RULE.draw(&draw);
        assert!(candidates.len() == 6 && candidates.is_sorted_by(|a, b| a < b), "{candidates:?}");
        let by_size: Named<dyn Sampler> = "by-size".parse().unwrap();
        assert_eq!(PowerOfChoice { candidates: 2 }.draw(&draw), by_size.draw(&draw));
        assert_eq!(RULE.choose(2, &[(0, 0.5), (3, 2.0), (5, 1.0), (7, f64::MIN_POSITIVE)]), [3, 5]);
        assert_eq!(RULE.choose(2, &[(0, 1.0), (3, 2.0), (5, 1.0)]), [0, 3], "of equal losses the lower number");
        assert_eq!(RULE.choose(2, &[(4, 1.0)]), [4], "the others did not answer");
        assert_eq!(RULE.choose(2, &[]), [0_u32; 0]);
    }

    #[test]
    fn too_few_and_too_many_candidates_are_refused() {
        assert_eq!([RULE.refusal(6, 6), RULE.refusal(2, 10)], [None, None]);
        let expected = "the candidates are 6, the clients 10, and those of a round 7; give 7 to 10";
        assert_eq!(RULE.refusal(7, 10).as_deref(), Some(expected));
        assert!(RULE.refusal(2, 5).is_some());
    }
}
