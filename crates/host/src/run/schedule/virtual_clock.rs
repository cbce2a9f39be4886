//! The virtual time of a training: a function of the experiment, the partition and the layout, known before the
//! training begins.

use std::sync::Arc;

use fedpipe_protocol::{Layout, Phase};
use fedpipe_record::experiment::{Experiment, LocalSection, TimeSection};
use fedpipe_strategy::{clock::SimulatedClient, slots::Slots, term::Given};

use crate::{
    error::{Error, Result},
    run::schedule::flights::Departures,
};

/// The speeds and links of a run's clients, and the bytes of its messages.
#[derive(Debug)]
pub(in crate::run) struct VirtualClock {
    clients: Vec<SimulatedClient>,
    layout: Layout,
    /// The bytes of the shared tensors.
    shared: u64,
    /// The bytes of an update.
    update: u64,
}

impl VirtualClock {
    /// Returns the clock of an experiment whose trace file has the content `trace`; `None` if the experiment has none.
    ///
    /// # Errors
    /// [`Error::Usage`] for a clock that has no speed for each client.
    pub(in crate::run) fn new(experiment: &Experiment, trace: &str, layout: &Layout) -> Result<Option<Self>> {
        let Some(clock) = &experiment.time.clock else { return Ok(None) };
        let clients = clock.clients(experiment.sample_seed(), experiment.clients.count, trace);
        let clients = clients.map_err(|why| Error::Usage(format!("--clock {clock}: {why}")))?;
        let local: u64 = layout.local_ranges().map(|range| size_of::<f32>() as u64 * range.len() as u64).sum();
        let update = experiment.strategy.transforms.payload(layout.weight_count()) - local;
        Ok(Some(Self { clients, shared: layout.payload() - local, update, layout: layout.clone() }))
    }
}

/// Returns the mini-batches of the experiment that cost as much as a phase.
fn steps_of(phase: &Phase, examples: u64, batch_size: u64) -> u64 {
    let own = phase.batch_size.unwrap_or(batch_size).min(examples.max(1));
    let all = phase.epochs * examples.div_ceil(own);
    let steps = phase.steps.map_or(all, |limit| limit.min(all));
    steps * own.div_ceil(batch_size)
}

/// The rules by which the clients of a run begin to train.
pub(in crate::run) struct Departing<'a> {
    pub(in crate::run) experiment: &'a Experiment,
    pub(in crate::run) clock: &'a VirtualClock,
    /// The training examples of each client.
    pub(in crate::run) sizes: &'a [u64],
    /// The state of the server.
    pub(in crate::run) server: &'a Slots,
    /// The clients of the round that do a part of the work.
    pub(in crate::run) stragglers: &'a [u32],
}

impl Departures for Departing<'_> {
    fn draw(&self, draw: u64, places: u32, idle: &[u32]) -> Vec<u32> {
        self.experiment.successors(draw, places, idle, self.sizes)
    }

    fn seconds(&self, client: u32, number: u64) -> f64 {
        let Self { experiment, clock, server, .. } = *self;
        let Experiment { time: TimeSection { step_time, .. }, local: LocalSection { batch_size, .. }, .. } =
            *experiment;
        let term = &experiment.strategy.rules.term;
        let (none, initial) = (Slots::default(), Arc::default());
        let examples = self.sizes[client as usize];
        let is_straggler = self.stragglers.binary_search(&client).is_ok();
        let work = experiment.work_of(client, number, examples, is_straggler);
        // The phases follow from the work alone.
        let given = Given {
            weights: &[],
            server: &none,
            client: &none,
            initial: &initial,
            work,
            learning_rate: 1.0,
            layout: &clock.layout,
        };
        let steps = term.prepare(&given).phases.iter().map(|phase| steps_of(phase, examples, batch_size)).sum();
        let corrects = !term.is_of_client() && term.server_slots().iter().any(|slot| server.vector(slot).is_some());
        let sent = clock.shared * (1 + u64::from(corrects)) + clock.update;
        let sent = if term.trains_alone() { 0 } else { sent };
        clock.clients[client as usize].seconds(steps, step_time, sent)
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::{Kind, Place, Tensor};

    use super::*;
    use crate::run::schedule::flights::{Flight, Flights};

    fn layout() -> Layout {
        let tensor = |name: &str, place| Tensor { name: name.into(), shape: vec![1000], kind: Kind::Param, place };
        Layout::new(vec![tensor("w", Place::Shared), tensor("head", Place::Local)]).unwrap()
    }

    /// Returns the seconds of client 1 with 100 examples, in batches of 32, at 0.5 s a step and 0.032 Mbit/s.
    fn seconds(change: impl FnOnce(&mut Experiment), server: &Slots) -> f64 {
        let mut experiment = Experiment::default();
        experiment.time.step_time = 0.5;
        experiment.time.clock = Some("constant:slowness=2,bandwidth=0.032".parse().unwrap());
        change(&mut experiment);
        let clock = VirtualClock::new(&experiment, "", &layout()).unwrap().unwrap();
        let sizes = [0, 100, 100, 100];
        Departing { experiment: &experiment, clock: &clock, sizes: &sizes, server, stragglers: &[] }.seconds(1, 1)
    }

    /// 4000 bytes of shared weights take one second each way, and a step takes one second.
    #[test]
    fn the_time_is_that_of_the_steps_of_all_phases_and_of_the_bytes_of_a_federation() {
        let none = Slots::default();
        assert_eq!(seconds(|_| (), &none), 4.0 + 2.0);
        assert_eq!(seconds(|of| of.local.local_steps = Some(7), &none), 7.0 + 2.0);
        assert_eq!(seconds(|of| of.time.clock = Some("constant".parse().unwrap()), &none), 2.0);
        // Option I has a step over all examples before, and from the second round on a correction is sent.
        let scaffold = |of: &mut Experiment| of.strategy = "scaffold:option=I".parse().unwrap();
        assert_eq!(seconds(scaffold, &none), 8.0 + 2.0);
        let mut server = Slots::default();
        server.set_vector("c", vec![0.5; 2000]);
        assert_eq!(seconds(scaffold, &server), 8.0 + 3.0);
    }

    /// Returns the trainings of a case of the CSV, as the lines have them.
    fn events(case: &str, count: usize) -> Vec<String> {
        let [_, _, seed, places, size, clients] = case.split(';').collect::<Vec<_>>()[..] else { panic!("{case}") };
        let clients: Vec<Vec<&str>> = clients.split(' ').map(|client| client.split(',').collect()).collect();
        let mut experiment = Experiment { seed: seed.parse().unwrap(), ..Experiment::default() };
        experiment.clients.count = clients.len() as u32;
        experiment.strategy = format!("fedbuff:size={size}").parse().unwrap();
        experiment.time.clock = Some("file:trace.csv".parse().unwrap());
        let line = |(place, client): (usize, &Vec<&str>)| format!("{place},{},{}\n", client[1], client[2]);
        let trace: String = clients.iter().enumerate().map(line).collect();
        let tensor = Tensor { name: "w".into(), shape: vec![250], kind: Kind::Param, place: Place::Shared };
        let layout = Layout::new(vec![tensor]).unwrap();
        let clock = VirtualClock::new(&experiment, &format!("client,slowness,bandwidth\n{trace}"), &layout);
        let (clock, server) = (clock.unwrap().unwrap(), Slots::default());
        let sizes: Vec<u64> = clients.iter().map(|client| client[0].parse().unwrap()).collect();
        let rules =
            Departing { experiment: &experiment, clock: &clock, sizes: &sizes, server: &server, stragglers: &[] };
        let mut flights = Flights::new(0.0, experiment.training_list(), places.parse().unwrap());
        let size: usize = size.parse().unwrap();
        let event = |number: usize| {
            let Flight { client, version, number, start, end } = flights.next((number / size) as u64, &rules);
            format!("{client} {version} {number} {start:?} {end:?}")
        };
        (0..count).map(event).collect()
    }

    /// `virtual_time.py` computes the events by a heap of its own.
    #[test]
    fn the_events_are_those_of_an_independent_simulator() {
        let file = include_str!("../../../../strategy/virtual_time.csv");
        let lines: Vec<&str> = file.lines().collect();
        let cases = lines.chunk_by(|_, next| !next.starts_with("case;"));
        let mut compared = 0;
        for case in cases {
            assert_eq!(events(case[0], case.len() - 1), case[1..], "{}", case[0]);
            compared += 1;
        }
        assert_eq!(compared, 7);
    }
}
