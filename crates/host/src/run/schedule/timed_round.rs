//! A synchronous round in virtual time: the sampled clients begin together, and the round ends with the last awaited
//! update or at the deadline. Work that is too late costs its virtual time and is not trained.

use fedpipe_data::counted;

use crate::{
    error::{Error, Result},
    run::{
        active::ActiveRun,
        event::Event,
        schedule::{
            flights::{Departures, Flight},
            timing::RoundTiming,
            virtual_clock::{Departing, VirtualClock},
        },
        training::{Staged, TrainedRound, TrainingOutcome, in_client_order, not_finite},
    },
};

impl ActiveRun<'_> {
    /// Has the clients of a round train that are in time, of those that were `sampled`.
    pub(in crate::run) fn train_in_time(&mut self, round: u64, sampled: &[u32]) -> Result<TrainedRound> {
        let experiment = self.context.experiment;
        let awaited = experiment.awaited_clients(sampled.len() as u32) as usize;
        let start = self.state.time().now;
        let all = self.departures(round, sampled)?;
        let deadline = experiment.time.deadline.map(|deadline| start + deadline);
        let in_time = &all[..all.partition_point(|flight| deadline.is_none_or(|deadline| flight.end <= deadline))];
        let quorum = experiment.quorum(awaited as u32) as usize;
        if in_time.len() < quorum {
            return Err(Error::Round(format!(
                "round {round} failed: {} of {} would return an update within --deadline {} (quorum {quorum}); give a longer \
                 deadline, or a smaller --min-clients",
                in_time.len(),
                counted(sampled.len(), "client"),
                experiment.time.deadline.unwrap_or_default()
            )));
        }
        let first = clients_of(&in_time[..awaited.min(in_time.len())]);
        self.journal.emit(&Event::RoundStarted { round, sampled: &first })?;
        let mut trained: Vec<(Flight, TrainingOutcome)> = Vec::new();
        let mut accepted = 0;
        while accepted < awaited && trained.len() < in_time.len() {
            // A client that crashed vanishes at its virtual end, and the next one to arrive takes its place.
            let missing = (awaited - accepted).min(in_time.len() - trained.len());
            let next = &in_time[trained.len()..trained.len() + missing];
            let outcomes = self.outcomes_of(round, next, &Staged::new())?;
            accepted += outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            trained.extend(next.iter().copied().zip(outcomes));
        }
        let last = match (accepted < awaited, deadline) {
            (true, Some(deadline)) if in_time.len() < all.len() => deadline,
            _ => trained.last().map_or(start, |(flight, _)| flight.end),
        };
        let late = clients_of(&all[trained.len()..]);
        let updates = trained.iter().map(|(flight, outcome)| flight.record(outcome.is_err()));
        let updates = updates.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| not_finite(round, &error))?;
        let timing = RoundTiming { end: last, updates, late, flights: None };
        self.close(round, in_client_order(trained), awaited, Some(timing))
    }

    /// Returns the trainings of the `sampled` clients, in the order of their ends.
    fn departures(&self, round: u64, sampled: &[u32]) -> Result<Vec<Flight>> {
        let experiment = self.context.experiment;
        let stragglers = experiment.stragglers(round, &self.clients.sizes);
        let (clock, start) = (self.clock()?, self.state.time().now);
        let (sizes, server) = (&self.clients.sizes[..], self.state.server());
        let rules = Departing { experiment, clock, sizes, server, stragglers: &stragglers };
        let flight = |&client: &u32| {
            let end = start + rules.seconds(client, round);
            Flight { start, end, ..Flight::untimed(client, round) }
        };
        let mut all: Vec<Flight> = sampled.iter().map(flight).collect();
        all.sort_by(Flight::by_end);
        Ok(all)
    }

    /// Returns the clock of the run.
    pub(super) fn clock(&self) -> Result<&VirtualClock> {
        let clock = self.clients.clock.as_ref();
        clock.ok_or_else(|| anyhow::anyhow!("a schedule in virtual time has no clock").into())
    }
}

/// Returns the clients of some trainings, ascending.
pub(super) fn clients_of(flights: &[Flight]) -> Vec<u32> {
    let mut clients: Vec<u32> = flights.iter().map(|flight| flight.client).collect();
    clients.sort_unstable();
    clients
}
