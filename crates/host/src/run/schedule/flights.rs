//! The clients at work in virtual time, as a queue of events: a function of the experiment, whatever a training results
//! in. Each event is the virtual end of a training; a client that crashed vanishes at its end.
//!
//! Events are ordered by (virtual end, client). All that end at one instant come before their successors begin, so that
//! equal clients are those of a synchronous round. `crates/strategy/virtual_time.py` computes the events on its own.

use std::collections::BTreeMap;

use fedpipe_record::{
    finite::{Finite, NotFinite},
    round_line::TimedUpdate,
};

/// A training of a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::run) struct Flight {
    pub(in crate::run) client: u32,
    /// The round that made the weights that the client received; 0 for the initial ones.
    pub(in crate::run) version: u64,
    /// The number of the training in the keys of its random choices: the round after the version, or one more than that
    /// of the client's last training if that is greater.
    pub(in crate::run) number: u64,
    /// In virtual seconds.
    pub(in crate::run) start: f64,
    pub(in crate::run) end: f64,
}

impl Flight {
    /// Returns the training of a round without virtual time.
    pub(in crate::run) fn untimed(client: u32, round: u64) -> Self {
        Self { client, version: round - 1, number: round, start: 0.0, end: 0.0 }
    }

    /// Returns the name of the training: no client has two of the same number.
    pub(in crate::run) fn key(&self) -> (u32, u64) {
        (self.client, self.number)
    }

    /// Orders by (virtual end, client).
    pub(in crate::run) fn by_end(&self, other: &Self) -> std::cmp::Ordering {
        self.end.total_cmp(&other.end).then(self.client.cmp(&other.client))
    }

    /// Returns the training as the ledger has it.
    ///
    /// # Errors
    /// A time that is not finite.
    pub(in crate::run) fn record(&self, dropped: bool) -> Result<TimedUpdate, NotFinite> {
        let (start, end) = (Finite::try_from(self.start)?, Finite::try_from(self.end)?);
        Ok(TimedUpdate { client: self.client, version: self.version, start, end, dropped })
    }
}

/// The rules by which clients begin to train.
pub(in crate::run) trait Departures {
    /// Returns the clients that begin in so many places, of the idle ones. `draw` counts the draws from 1.
    fn draw(&self, draw: u64, places: u32, idle: &[u32]) -> Vec<u32>;

    /// Returns the virtual seconds of a client's training of this number.
    fn seconds(&self, client: u32, number: u64) -> f64;
}

/// The clients at work.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::run) struct Flights {
    now: f64,
    /// The clients that may train, ascending.
    clients: Vec<u32>,
    /// The clients that are at work at the same time.
    places: u32,
    draws: u64,
    /// The number of the last training, by client.
    numbers: BTreeMap<u32, u64>,
    under_way: Vec<Flight>,
}

impl Flights {
    /// Returns the state at a virtual time at which nobody is at work.
    pub(in crate::run) fn new(now: f64, clients: Vec<u32>, places: u32) -> Self {
        Self { now, clients, places, draws: 0, numbers: BTreeMap::new(), under_way: Vec::new() }
    }

    /// Returns the virtual time of the last event.
    pub(in crate::run) fn now(&self) -> f64 {
        self.now
    }

    /// Returns the trainings that have not ended.
    pub(in crate::run) fn under_way(&self) -> &[Flight] {
        &self.under_way
    }

    /// Returns the next training that ends. Clients that begin before that end receive the weights of `version`.
    pub(in crate::run) fn next(&mut self, version: u64, rules: &dyn Departures) -> Flight {
        if self.earliest().is_none_or(|place| self.under_way[place].end > self.now) {
            self.fill(version, rules);
        }
        let place = self.earliest().expect("a draw leaves no place empty while clients are idle");
        let flight = self.under_way.swap_remove(place);
        self.now = flight.end;
        flight
    }

    /// Returns the place of the training that ends first.
    fn earliest(&self) -> Option<usize> {
        (0..self.under_way.len()).min_by(|&a, &b| self.under_way[a].by_end(&self.under_way[b]))
    }

    /// Has idle clients begin in each empty place.
    fn fill(&mut self, version: u64, rules: &dyn Departures) {
        let empty = self.places - self.under_way.len() as u32;
        if empty == 0 {
            return;
        }
        self.draws += 1;
        let is_idle = |client: &u32| self.under_way.iter().all(|flight| flight.client != *client);
        let idle: Vec<u32> = self.clients.iter().copied().filter(is_idle).collect();
        for client in rules.draw(self.draws, empty, &idle) {
            let last = self.numbers.get(&client).copied().unwrap_or_default();
            let number = (version + 1).max(last + 1);
            self.numbers.insert(client, number);
            let (start, end) = (self.now, self.now + rules.seconds(client, number));
            self.under_way.push(Flight { client, version, number, start, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients whose trainings take the same time each, and a draw of the first idle ones.
    struct Scripted(Vec<f64>);

    impl Departures for Scripted {
        fn draw(&self, _: u64, places: u32, idle: &[u32]) -> Vec<u32> {
            idle[..places as usize].to_vec()
        }

        fn seconds(&self, client: u32, _: u64) -> f64 {
            self.0[client as usize]
        }
    }

    /// By hand: three clients take 2, 3 and 4 seconds, and two are at work. The weights change after each two updates.
    #[test]
    fn the_events_are_those_that_are_computed_by_hand() {
        let (rules, mut flights) = (Scripted(vec![2.0, 3.0, 4.0]), Flights::new(0.0, vec![0, 1, 2], 2));
        let events: Vec<_> = (0..6)
            .map(|event| {
                let Flight { client, version, number, start, end } = flights.next(event / 2, &rules);
                (client, version, number, start, end)
            })
            .collect();
        // At 2, client 0 begins again with the same version, so that its second training has the number 2. At 6 both
        // end, client 0 first, and begin again together.
        let expected = [
            (0, 0, 1, 0.0, 2.0),
            (1, 0, 1, 0.0, 3.0),
            (0, 0, 2, 2.0, 4.0),
            (0, 1, 3, 4.0, 6.0),
            (1, 1, 2, 3.0, 6.0),
            (0, 2, 4, 6.0, 8.0),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn equal_clients_are_those_of_synchronous_rounds() {
        let (rules, mut flights) = (Scripted(vec![1.5; 3]), Flights::new(1.0, vec![0, 1, 2], 3));
        for round in 1..=4 {
            for client in 0..3 {
                let start = 1.0 + 1.5 * (round - 1) as f64;
                let expected = Flight { client, version: round - 1, number: round, start, end: start + 1.5 };
                assert_eq!(flights.next(round - 1, &rules), expected);
            }
        }
    }

    #[test]
    fn no_event_goes_back_in_time_and_no_client_has_two_trainings_at_once() {
        let times = (1..=20).map(|client| 0.3 + f64::from(client * client % 7)).collect();
        let (rules, mut flights) = (Scripted(times), Flights::new(0.0, (0..20).collect(), 8));
        let (mut last, mut seen) = (0.0, std::collections::BTreeSet::new());
        for event in 0..500 {
            let flight = flights.next(event / 5, &rules);
            assert!(flight.end >= last && flight.start < flight.end);
            assert!(seen.insert(flight.key()), "{flight:?} has the keys of an earlier training");
            assert!(flights.under_way().iter().all(|other| other.client != flight.client));
            assert!(flights.under_way().len() <= 8);
            last = flight.end;
        }
    }
}
