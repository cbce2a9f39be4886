//! The clients of a round: those that may train, those that are sampled, and those that are scored.

use fedpipe_strategy::{attack::attackers, local_work::ClientWork, sampler::Draw};

use super::{Experiment, LocalSection};
use crate::evaluated_clients::EvaluatedClients;

impl Experiment {
    /// Returns the clients that never train, ascending.
    pub fn new_clients(&self) -> Vec<u32> {
        self.deal().holdout.new_clients(self.data_seed(), self.clients.count)
    }

    /// Returns the number of clients that may train.
    pub fn training_clients(&self) -> u32 {
        self.clients.count - self.new_clients().len() as u32
    }

    /// Returns the clients that may train, ascending.
    pub fn training_list(&self) -> Vec<u32> {
        let new = self.new_clients();
        (0..self.clients.count).filter(|client| new.binary_search(client).is_err()).collect()
    }

    /// Returns the clients that attack, ascending.
    pub fn attackers(&self) -> Vec<u32> {
        match self.strategy.attack.fraction() {
            0.0 => Vec::new(),
            fraction => attackers(self.seed.0, fraction, &self.training_list()),
        }
    }

    /// Returns the number of clients that a round samples: the fraction of those that may train, rounded, at least one.
    pub fn sampled_clients(&self) -> u32 {
        let count = self.training_clients();
        ((f64::from(count) * self.clients.fraction).round() as u32).clamp(1, count.max(1))
    }

    /// Returns the number of clients that a round samples with those that over-commitment adds, rounded down.
    fn committed_clients(&self) -> u32 {
        // The addend is the share that f64 may take away from a product which is a whole number.
        let committed = f64::from(self.sampled_clients()) * self.strategy.schedule.over_commitment() + 1e-9;
        (committed as u32).min(self.training_clients())
    }

    /// Returns the number of updates that a round awaits, of so many `sampled` clients.
    pub fn awaited_clients(&self, sampled: u32) -> u32 {
        if self.strategy.schedule.over_commitment() > 1.0 { sampled.min(self.sampled_clients()) } else { sampled }
    }

    /// Returns the fewest updates that a round may await.
    pub(super) fn fewest_sampled(&self) -> u32 {
        let count = self.committed_clients();
        let available = self.available_counts().into_iter().map(|(_, available)| available).min().unwrap_or(count);
        let least = self.strategy.sampler.least(count.min(available));
        self.awaited_clients(least - self.local.uneven.dropped(least))
    }

    /// Returns the stretches of rounds with the number of available clients, if a trace has them.
    pub(super) fn available_counts(&self) -> Vec<(u64, u32)> {
        let training = self.training_list();
        self.clients.availability.as_ref().map_or_else(Vec::new, |trace| trace.counts(&training, self.last_round()))
    }

    /// Returns the clients of a round, ascending: those that are drawn, without the stragglers that are dropped.
    /// `sizes` has the examples of each client. Under a sampler that asks for losses, they are the candidates.
    pub fn sample(&self, round: u64, sizes: &[u64]) -> Vec<u32> {
        let mut sampled = self.draws(round, sizes);
        sampled.dedup();
        if self.local.uneven.dropped(sampled.len() as u32) > 0 {
            let stragglers = self.local.uneven.stragglers(self.sample_seed(), round, &sampled);
            sampled.retain(|client| stragglers.binary_search(client).is_err());
        }
        sampled
    }

    /// Returns the clients of a round that do a part of the local work, ascending.
    pub fn stragglers(&self, round: u64, sizes: &[u64]) -> Vec<u32> {
        let mut sampled = self.draws(round, sizes);
        sampled.dedup();
        self.local.uneven.stragglers(self.sample_seed(), round, &sampled)
    }

    /// Returns the clients that are drawn for a round, ascending, each as often as it is drawn.
    pub fn draws(&self, round: u64, sizes: &[u64]) -> Vec<u32> {
        let new = self.new_clients();
        let is_available = |client: &u32| self.clients.availability.as_ref().is_none_or(|of| of.has(*client, round));
        let may_train = (0..sizes.len() as u32).filter(|client| new.binary_search(client).is_err());
        let training: Vec<u32> = may_train.filter(is_available).collect();
        if training.is_empty() {
            return training;
        }
        let (seed, count) = (self.sample_seed(), self.committed_clients().min(training.len() as u32));
        let sizes: Vec<u64> = training.iter().map(|&client| sizes[client as usize]).collect();
        let drawn = self.strategy.sampler.draw(&Draw { seed, round, count, sizes: &sizes });
        drawn.into_iter().map(|place| training[place as usize]).collect()
    }

    /// Returns the clients that begin to train in the place of those that ended, of the `idle` ones, ascending. `sizes`
    /// has the examples of each client, and `draw` counts the draws from 1.
    pub fn successors(&self, draw: u64, places: u32, idle: &[u32], sizes: &[u64]) -> Vec<u32> {
        let sizes: Vec<u64> = idle.iter().map(|&client| sizes[client as usize]).collect();
        let draw = Draw { seed: self.sample_seed(), round: draw, count: places, sizes: &sizes };
        self.strategy.sampler.draw(&draw).into_iter().map(|place| idle[place as usize]).collect()
    }

    /// Returns the work of a client in its training `number`, over so many examples.
    pub fn work_of(&self, client: u32, number: u64, examples: u64, is_straggler: bool) -> ClientWork {
        let LocalSection { uneven, batch_size, .. } = &self.local;
        let key = (self.sample_seed(), client, number);
        uneven.of_client(self.local.work(), key, is_straggler).over(examples, *batch_size)
    }

    /// Returns `true` if the clients are scored after this round.
    pub fn scores_clients_after(&self, round: u64) -> bool {
        !self.deal().holdout.is_none() && round.is_multiple_of(self.evaluation.every)
    }

    /// Returns the clients that are scored after a round which aggregated the updates of `participants`, ascending.
    pub fn scored_clients(&self, round: u64, participants: &[u32]) -> Vec<u32> {
        let training = self.training_list();
        match self.evaluation.clients {
            EvaluatedClients::All => training,
            EvaluatedClients::Sampled => participants.to_vec(),
            EvaluatedClients::Count(count) => {
                let sizes = vec![1; training.len()];
                let draw = Draw { seed: self.sample_seed(), round, count, sizes: &sizes };
                draw.scored().into_iter().map(|place| training[place as usize]).collect()
            }
        }
    }

    /// Returns the number of updates below which a round with so many `sampled` clients fails, at least 1.
    pub fn quorum(&self, sampled: u32) -> u32 {
        self.clients.min_clients.unwrap_or_else(|| sampled.div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{experiment::ClientsSection, seed::Seed};

    #[test]
    fn a_seed_of_its_own_changes_its_draws_alone() {
        let of = |sample_seed| Experiment { seed: Seed(1), sample_seed, ..Experiment::default() };
        let mut both = [of(None), of(Some(Seed(2)))];
        both.iter_mut().for_each(|of| of.clients = ClientsSection { count: 100, fraction: 0.1, ..of.clients.clone() });
        let [same, other] = both;
        assert_ne!(same.sample(1, &[1; 100]), other.sample(1, &[1; 100]));
        assert_eq!((other.data_seed(), other.init_seed(), other.sample_seed()), (1, 1, 2));
    }

    /// The cases are ties, a product that f64 rounds below a tie, and both limits.
    #[test]
    fn a_round_has_as_many_clients_as_the_readme_of_strategy_says() {
        let readme = include_str!("../../../strategy/README.md");
        let rows = readme.lines().filter_map(|line| line.strip_prefix("| clients of a round: ")?.strip_suffix(" |"));
        let mut cases = 0;
        for row in rows {
            let (product, count) = row.split_once(" | ").unwrap();
            let (clients, fraction) = product.split_once(" · ").unwrap();
            let (clients, fraction) = (clients.parse().unwrap(), fraction.parse().unwrap());
            let section = ClientsSection { count: clients, fraction, ..ClientsSection::default() };
            let sampled = Experiment { clients: section, ..Experiment::default() }.sampled_clients();
            assert_eq!(sampled.to_string(), count, "{product}");
            cases += 1;
        }
        assert_eq!(cases, 6);
    }
}
