//! A round without rounds of clients: the updates that arrive until the buffer is full, in the order of [`Flights`].
//!
//! The events do not depend on what a training results in, so that all trainings of a round are known at once and fill
//! the processes together. A process that would be idle trains a client that arrives in a later round.

use fedpipe_data::counted;
use fedpipe_strategy::schedule::Arrival;

use crate::{
    error::{Error, Result},
    run::{
        active::ActiveRun,
        event::Event,
        schedule::{
            flights::{Flight, Flights},
            timed_round::clients_of,
            timing::RoundTiming,
            virtual_clock::Departing,
        },
        training::{Staged, TrainedRound, TrainingOutcome, in_client_order, not_finite},
    },
};

impl ActiveRun<'_> {
    /// Has clients train until `size` updates have arrived, and places each at the current weights.
    pub(in crate::run) fn train_buffer(&mut self, round: u64, size: usize) -> Result<TrainedRound> {
        let flights = self.state.time().flights.clone();
        let mut flights = flights.ok_or_else(|| anyhow::anyhow!("the run has no virtual time"))?;
        let (mut arrived, mut staged): (Vec<(Flight, TrainingOutcome)>, _) = (Vec::new(), Staged::new());
        let mut accepted = 0;
        let attack = &self.context.experiment.strategy.rules.attack;
        let rejected = if attack.is_rejected() { self.context.experiment.attackers() } else { Vec::new() };
        // Each client may crash once, and each place of the buffer.
        let most = size + self.context.experiment.training_clients() as usize;
        while accepted < size {
            let due = self.due(round, size - accepted, &mut flights)?;
            if arrived.is_empty() {
                self.journal.emit(&Event::RoundStarted { round, sampled: &clients_of(&due) })?;
            }
            self.train_due(round, &due, &flights, &mut staged)?;
            for flight in due {
                let outcome = self.take_early(&flight);
                accepted += usize::from(outcome.is_ok() && !rejected.contains(&flight.client));
                arrived.push((flight, outcome));
            }
            if arrived.len() - accepted > most {
                let cause = arrived.iter().find_map(|(_, outcome)| outcome.as_ref().err());
                let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
                return Err(Error::Round(format!(
                    "round {round} failed: {accepted} of {} arrived, and {} did not{cause}",
                    counted(size, "update"),
                    counted(arrived.len() - accepted, "update")
                )));
            }
        }
        let updates = arrived.iter().map(|(flight, outcome)| flight.record(outcome.is_err()));
        let updates = updates.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| not_finite(round, &error))?;
        self.place(round, &mut arrived)?;
        let timing = RoundTiming { end: flights.now(), updates, late: Vec::new(), flights: Some(flights) };
        self.close(round, in_client_order(arrived), size, Some(timing))
    }

    /// Returns the next trainings that end.
    fn due(&self, round: u64, count: usize, flights: &mut Flights) -> Result<Vec<Flight>> {
        let (experiment, server) = (self.context.experiment, self.state.server());
        let (clock, sizes) = (self.clock()?, &self.clients.sizes[..]);
        let rules = Departing { experiment, clock, sizes, server, stragglers: &[] };
        Ok((0..count).map(|_| flights.next(round - 1, &rules)).collect())
    }

    /// Has the clients of these trainings train, and keeps the outcomes. A client that ends twice in a round trains for
    /// the second time with the state of the first.
    fn train_due(&mut self, round: u64, due: &[Flight], flights: &Flights, staged: &mut Staged) -> Result<()> {
        loop {
            for flight in due {
                if let Some(Ok(update)) = self.early.get(&flight.key()) {
                    staged.insert(flight.client, update.after.clone());
                }
            }
            let mut wave: Vec<Flight> = Vec::new();
            for flight in due.iter().filter(|flight| self.is_open(flight)) {
                if wave.iter().all(|other| other.client != flight.client) {
                    wave.push(*flight);
                }
            }
            if wave.is_empty() {
                return Ok(());
            }
            let idle = self.clients.fleet.at_once().saturating_sub(wave.len());
            let is_later = |flight: &&Flight| {
                let knows =
                    due.iter().all(|other| other.client != flight.client) && !staged.contains_key(&flight.client);
                knows && self.is_open(flight)
            };
            let mut later: Vec<Flight> = flights.under_way().iter().filter(is_later).copied().collect();
            later.sort_by(Flight::by_end);
            wave.extend(later.into_iter().take(idle));
            let outcomes = self.outcomes_of(round, &wave, staged)?;
            self.early.extend(wave.iter().map(Flight::key).zip(outcomes));
        }
    }

    /// Returns `true` for a training that has to be done.
    fn is_open(&self, flight: &Flight) -> bool {
        !self.early.contains_key(&flight.key()) && !self.is_dropped(flight)
    }

    fn take_early(&mut self, flight: &Flight) -> TrainingOutcome {
        self.early.remove(&flight.key()).unwrap_or_else(|| Err(super::dropped()))
    }

    /// Replaces the weights of each update by those that the aggregator takes.
    fn place(&self, round: u64, arrived: &mut [(Flight, TrainingOutcome)]) -> Result<()> {
        let (schedule, layout) = (&self.context.experiment.strategy.rules.schedule, self.clients.layout()?);
        let current = &self.state.weights()[..];
        for (flight, outcome) in arrived {
            let Ok(update) = outcome else { continue };
            let (received, staleness) = (&self.received(flight)?[..], round - 1 - flight.version);
            schedule.place(&Arrival { current, received, staleness, layout }, &mut update.weights);
        }
        Ok(())
    }
}
