//! The virtual time of a run between two rounds, and the times of one round.

use std::{collections::BTreeMap, sync::Arc};

use fedpipe_record::{checkpoint::Checkpoint, experiment::Experiment, history::History, round_line::TimedUpdate};

use crate::{
    error::{Error, Result},
    run::schedule::flights::{Departures, Flights},
};

/// The times of a round.
#[derive(Debug, Clone)]
pub(in crate::run) struct RoundTiming {
    /// The virtual seconds from the start of the run to the new weights.
    pub(in crate::run) end: f64,
    /// The trainings in the order of their ends.
    pub(in crate::run) updates: Vec<TimedUpdate>,
    /// The sampled clients that were not trained, ascending.
    pub(in crate::run) late: Vec<u32>,
    /// The clients at work after the round; none of a synchronous round.
    pub(in crate::run) flights: Option<Flights>,
}

impl RoundTiming {
    /// Returns the times of a round without a client, which takes no time.
    pub(in crate::run) fn idle(now: f64) -> Self {
        Self { end: now, updates: Vec::new(), late: Vec::new(), flights: None }
    }
}

/// The virtual time of a run after its last round.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct RunTime {
    /// The virtual seconds from the start of the run.
    pub(in crate::run) now: f64,
    /// The clients at work, if the schedule has no rounds of clients.
    pub(in crate::run) flights: Option<Flights>,
    /// The weights with which they began, by the round that made them; empty in synchronous rounds.
    versions: BTreeMap<u64, Arc<Vec<f32>>>,
}

impl RunTime {
    /// Returns the time before the first round.
    pub(in crate::run) fn new(experiment: &Experiment, initial: &Arc<Vec<f32>>) -> Self {
        Self::begun(experiment, (0.0, 0), initial)
    }

    /// Returns the time `now` at which nobody is at work, after a round that made these weights.
    fn begun(experiment: &Experiment, (now, round): (f64, u64), weights: &Arc<Vec<f32>>) -> Self {
        if experiment.strategy.is_synchronous() {
            return Self { now, ..Self::default() };
        }
        let flights = Flights::new(now, experiment.training_list(), experiment.sampled_clients());
        Self { now, flights: Some(flights), versions: [(round, Arc::clone(weights))].into() }
    }

    /// Returns the time after the last round of a ledger. The events since the round `first`, with which the experiment
    /// begins, are computed again. The clients at work train again from the versions of the checkpoint: an update is a
    /// function of its request, and a version is no larger than an update.
    ///
    /// # Errors
    /// Returns [`Error::Output`] for a ledger whose updates are not those of the experiment's clock, and for a
    /// checkpoint without a version that a client received.
    pub(in crate::run) fn resumed(
        experiment: &Experiment,
        (history, first): (&History, u64),
        checkpoint: &Checkpoint,
        rules: Option<&dyn Departures>,
    ) -> Result<Self> {
        let (before, since) = history.rounds.split_at(history.rounds.len().min(first as usize - 1));
        let now = before.iter().rev().find_map(|round| round.virtual_seconds).map_or(0.0, |end| end.get());
        let mut time = Self::begun(experiment, (now, checkpoint.meta.round), &checkpoint.weights);
        time.now = history.virtual_seconds();
        let (Some(flights), Some(rules)) = (&mut time.flights, rules) else { return Ok(time) };
        for round in since {
            for recorded in &round.updates {
                let computed = flights.next(round.round - 1, rules).record(recorded.dropped).ok();
                if computed.as_ref() != Some(recorded) {
                    return Err(Error::Output(format!(
                        "the run cannot be resumed, since round {} has {recorded:?} in the ledger, and the clock of the \
                         experiment gives {computed:?}",
                        round.round
                    )));
                }
            }
        }
        time.versions.extend(checkpoint.versions.iter().map(|(version, weights)| (*version, Arc::clone(weights))));
        match flights.under_way().iter().find(|flight| !time.versions.contains_key(&flight.version)) {
            Some(flight) => Err(Error::Output(format!(
                "the run cannot be resumed, since the checkpoint of round {} lacks the weights of round {}, with which \
                 client {} is at work",
                checkpoint.meta.round, flight.version, flight.client
            ))),
            None => Ok(time),
        }
    }

    /// Takes the times of a whole round, which made these weights.
    pub(in crate::run) fn commit(&mut self, round: u64, timing: RoundTiming, weights: &Arc<Vec<f32>>) {
        self.now = timing.end;
        self.flights = timing.flights;
        let Some(flights) = &self.flights else { return };
        self.versions.retain(|version, _| flights.under_way().iter().any(|flight| flight.version == *version));
        self.versions.insert(round, Arc::clone(weights));
    }

    /// Returns the weights that a round made and with which a client is at work.
    pub(in crate::run) fn version(&self, version: u64) -> Option<&Arc<Vec<f32>>> {
        self.versions.get(&version)
    }

    /// Returns the versions besides that of the last `round`, which a checkpoint has anyway.
    pub(in crate::run) fn earlier_versions(&self, round: u64) -> BTreeMap<u64, Arc<Vec<f32>>> {
        let earlier = self.versions.iter().filter(|(version, _)| **version != round);
        earlier.map(|(version, weights)| (*version, Arc::clone(weights))).collect()
    }
}
