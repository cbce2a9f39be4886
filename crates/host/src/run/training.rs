//! The training of a round: the request of each client, and the updates in client order.
//!
//! A request gets its last parts just before it is sent (`client_requests.rs`). The client's new state is computed when
//! its update arrives. If the strategy needs only the mean, updates are added to it, a few at a time, as soon as those
//! before them have arrived. The buffers of added updates receive later updates.

mod client_requests;

use std::{collections::BTreeMap, sync::Arc};

use fedpipe_data::counted;
use fedpipe_protocol::{Parts, Reply, Request, ScoreStart, Spare, Train};
use fedpipe_record::{
    cause::Cause,
    experiment::{Experiment, LocalSection},
    finite::NotFinite,
};
use fedpipe_strategy::{
    attack::Attackers,
    closed_round::ClientUpdate,
    local_optimiser::to_json,
    range::{GREATEST_OF_A_CLIENT, first_beyond, shown},
    slots::Slots,
};

use crate::{
    error::{Error, Result},
    fleet::{
        job::{Check, Job},
        job_queue::SettledJob,
    },
    run::{
        active::ActiveRun,
        aggregate::{AllCores, RunningMean},
        answers::{
            self, Expected,
            steps::{Accumulation, most_steps},
        },
        clients::Clients,
        event::Event,
        round::Recorder,
        schedule::{
            dropped,
            flights::Flight,
            job_batch::{InOrder, JobBatch},
            timing::RoundTiming,
        },
        training::client_requests::Training,
    },
};

/// The updates that are added together, so that the sums are loaded and stored once for all of them.
const TOGETHER: usize = 4;

/// The update of a training, or the cause why there is none.
pub(super) type TrainingOutcome = std::result::Result<ClientUpdate, Cause>;

/// The states of clients whose updates the round has accepted and not yet committed.
pub(super) type Staged = BTreeMap<u32, Slots>;

/// The trainings of a round.
#[derive(Debug)]
pub(super) struct TrainedRound {
    /// The updates in client order, at least the quorum.
    pub(super) updates: Vec<ClientUpdate>,
    /// The number of trainings.
    pub(super) trainings: u32,
    /// The clients that attacked, ascending.
    pub(super) attackers: Vec<u32>,
    /// The virtual times, if the experiment has a clock.
    pub(super) timing: Option<RoundTiming>,
}

impl ActiveRun<'_> {
    /// Has clients train: those that were `sampled`, or those whose turn it is in a schedule without rounds of clients.
    pub(super) fn train(&mut self, round: u64, sampled: &[u32]) -> Result<TrainedRound> {
        let schedule = &self.context.experiment.strategy.rules.schedule;
        if sampled.is_empty() && schedule.buffer_size().is_none() {
            self.journal.emit(&Event::RoundStarted { round, sampled })?;
            let timing = self.clients.clock.as_ref().map(|_| RoundTiming::idle(self.state.time().now));
            return Ok(TrainedRound { updates: Vec::new(), trainings: 0, attackers: Vec::new(), timing });
        }
        match (schedule.buffer_size(), &self.clients.clock) {
            (Some(size), _) => return self.train_buffer(round, size as usize),
            (None, Some(_)) => return self.train_in_time(round, sampled),
            (None, None) => {}
        }
        self.journal.emit(&Event::RoundStarted { round, sampled })?;
        let flights: Vec<Flight> = sampled.iter().map(|&client| Flight::untimed(client, round)).collect();
        let outcomes = self.outcomes_of(round, &flights, &Staged::new())?;
        self.close(round, flights.into_iter().zip(outcomes).collect(), sampled.len(), None)
    }

    /// Takes the trainings of a round, in client order, of which so many updates were awaited.
    pub(super) fn close(
        &mut self,
        round: u64,
        trained: Vec<(Flight, TrainingOutcome)>,
        awaited: usize,
        timing: Option<RoundTiming>,
    ) -> Result<TrainedRound> {
        let experiment = self.context.experiment;
        let trainings = trained.len() as u32;
        let asked: Vec<u32> = match timing {
            Some(_) => trained.iter().map(|(flight, _)| flight.client).collect(),
            // The others of the candidates sent nothing.
            None if experiment.strategy.sampler.asks_losses() => {
                trained.iter().map(|(flight, _)| flight.client).collect()
            }
            // A run that repeats another trains its participants alone, without rejected attackers.
            None => experiment.sample(round, &self.clients.sizes),
        };
        let attackers = experiment.attackers().into_iter().filter(|client| asked.contains(client)).collect();
        let mut gathered = Gathered::default();
        gathered.extend(trained.into_iter().map(|(_, outcome)| outcome));
        self.attack(round, &mut gathered)?;
        let Gathered { updates, first_failure } = gathered;
        let quorum = experiment.quorum(awaited as u32);
        if updates.len() >= quorum as usize {
            return Ok(TrainedRound { updates, trainings, attackers, timing });
        }
        let cause = first_failure.map_or(String::new(), |cause| format!("{}: {cause}", self.origin(&cause)));
        let (got, trained) = (updates.len(), counted(trainings, "client"));
        Err(Error::Round(format!(
            "round {round} failed: {got} of {trained} returned an update (quorum {quorum}){cause}"
        )))
    }

    /// Returns the weights that a client receives.
    pub(super) fn received(&self, flight: &Flight) -> Result<&Arc<Vec<f32>>> {
        if self.context.experiment.strategy.rules.is_synchronous() {
            return Ok(self.state.weights());
        }
        let weights = self.state.time().version(flight.version);
        weights.ok_or_else(|| anyhow::anyhow!("the weights of round {} are gone", flight.version).into())
    }

    /// Returns `true` for a training that did not succeed in the run that this run repeats.
    pub(super) fn is_dropped(&self, flight: &Flight) -> bool {
        self.clients.clock.is_some() && self.context.launch.dropped.contains(&(flight.client, flight.start.to_bits()))
    }

    /// Has clients train, each at most once, and returns the outcomes in the same order. A client in `staged` has that
    /// state.
    pub(super) fn outcomes_of(
        &mut self,
        round: u64,
        flights: &[Flight],
        staged: &Staged,
    ) -> Result<Vec<TrainingOutcome>> {
        let mut open: Vec<Flight> = flights.iter().filter(|flight| !self.is_dropped(flight)).copied().collect();
        open.sort_by_key(|flight| flight.client);
        let gathered = self.gather(round, &open, staged);
        // The isolation is recorded even if the work failed.
        let recorded = self.clients.record_isolation(&mut self.journal);
        let outcomes = gathered.and_then(|gathered| recorded.map(|()| gathered))?;
        let mut of: BTreeMap<u32, TrainingOutcome> = open.iter().map(|flight| flight.client).zip(outcomes).collect();
        Ok(flights.iter().map(|flight| of.remove(&flight.client).unwrap_or_else(|| Err(dropped()))).collect())
    }

    /// Returns `true` if the updates are added to the mean as they arrive.
    pub(super) fn adds_on_arrival(&self) -> bool {
        let rules = &self.context.experiment.strategy.rules;
        // With over-commitment a later batch may have clients before those of the first.
        self.clients.program.is_none() && rules.needs_only_mean() && rules.schedule.over_commitment() == 1.0
    }

    /// Has clients train, whose numbers ascend, and returns the outcomes in the same order.
    fn gather(&mut self, round: u64, flights: &[Flight], staged: &Staged) -> Result<Vec<TrainingOutcome>> {
        let check = self.update_check()?;
        let experiment = self.context.experiment;
        let attackers = experiment.attackers();
        let sizes = &self.clients.sizes;
        let (draws, stragglers) = if experiment.strategy.rules.is_synchronous() {
            (experiment.draws(round, sizes), experiment.stragglers(round, sizes))
        } else {
            Default::default()
        };
        let jobs = flights.iter().map(|flight| self.job(flight, &attackers)).collect::<Result<Vec<Job>>>()?;
        let layout = self.clients.layout()?.clone();
        let local = layout.local_ranges().collect();
        let puts_local = self.clients.kept_local.is_some();
        let adds_on_arrival = self.adds_on_arrival();
        let Self { clients: Clients { fleet, mean, spare, program, sizes, .. }, state, journal, .. } = self;
        mean.restart(state.weights().len());
        let recorder = Recorder { round, state, journal };
        let program = program.as_mut();
        let mut training = Training {
            experiment,
            recorder,
            program,
            layout,
            local,
            puts_local,
            sizes,
            draws,
            stragglers,
            flights: flights.iter().map(|flight| (flight.client, *flight)).collect(),
            staged,
            before: BTreeMap::new(),
        };
        let (mut in_order, mut due, mut gathered) = (InOrder::default(), Vec::new(), Vec::with_capacity(flights.len()));
        let mut use_all = |due: &mut Vec<TrainingOutcome>| {
            if adds_on_arrival {
                add(experiment, due, mean, spare);
            }
            gathered.append(due);
        };
        let batch = JobBatch::submit(fleet, jobs, &check);
        while let Some((index, SettledJob { job, settled, .. })) = batch.next(fleet, round, &mut training)? {
            due.extend(in_order.arrive(index, training.outcome(&job, settled)));
            if due.len() >= TOGETHER {
                use_all(&mut due);
            }
        }
        use_all(&mut due);
        Ok(gathered)
    }

    /// Alters the updates of the clients that attack. As any update, an altered one beyond the range is rejected.
    fn attack(&self, round: u64, gathered: &mut Gathered) -> Result<()> {
        let experiment = self.context.experiment;
        let rules = &experiment.strategy.rules;
        if !rules.alters_updates() {
            return Ok(());
        }
        let clients = experiment.attackers();
        let (attack, of) = (&*rules.attack, experiment.training_clients());
        let attackers = Attackers { attack, clients: &clients, of, seed: experiment.seed.0 };
        attackers.alter(&mut gathered.updates, (round, self.state.weights()), self.clients.layout()?, &AllCores);
        let Gathered { updates, first_failure } = gathered;
        updates.retain(|update| {
            let Some(index) = first_beyond(&update.weights, GREATEST_OF_A_CLIENT) else { return true };
            let why = format!("weight {index} is {} after the attack {}", shown(update.weights[index]), rules.attack);
            first_failure.get_or_insert_with(|| Cause::rejected(why));
            false
        });
        Ok(())
    }

    /// Returns the check of an update.
    pub(super) fn update_check(&self) -> Result<Arc<Check>> {
        let (sizes, remedy) = (self.clients.sizes.clone(), self.clients.remedy.clone());
        let local: Vec<_> = self.clients.layout()?.local_ranges().collect();
        let strategy = &self.context.experiment.strategy;
        let accumulation = strategy.rules.needs_accumulation().then(|| self.accumulation());
        Ok(Arc::new(move |job: &Job, reply: &Reply, parts: &mut Parts, weights: usize| {
            let accumulation = accumulation.as_ref();
            let expected = Expected { weights, sizes: &sizes, local: &local, accumulation, remedy: &remedy };
            answers::update(job, reply, parts, &expected)
        }))
    }

    /// Returns the bounds of ‖a‖₁ of this run's clients.
    fn accumulation(&self) -> Accumulation {
        let Experiment { strategy, local, .. } = self.context.experiment;
        let LocalSection { optimiser, batch_size, .. } = local;
        let most = |&examples| most_steps(&local.work().over(examples, *batch_size).phase(), examples, *batch_size);
        let steps = self.clients.sizes.iter().map(most);
        let multiplies = strategy.rules.aggregator.needs_accumulation();
        Accumulation::new(optimiser.clone(), multiplies, steps.fold(1, u64::max))
    }

    /// Returns the request for a client without the facts that depend on the client's state.
    pub(super) fn job(&self, flight: &Flight, attackers: &[u32]) -> Result<Job> {
        let Experiment { local, until_converged, strategy, .. } = self.context.experiment;
        let client = flight.client;
        let train = Train {
            client,
            round: flight.number,
            batch_size: local.batch_size,
            learning_rate: self.context.experiment.learning_rate(flight.version + 1),
            optimiser: to_json(&local.optimiser),
            keeps_momentum: local.optimiser.keeps_momentum(),
            flip_labels: strategy.rules.attack.flips_labels() && attackers.contains(&client),
            phases: Vec::new(),
            transforms: strategy.rules.transforms.texts(),
            score_start: strategy.rules.aggregator.score_start().or(until_converged.then_some(ScoreStart::Rows)),
            weights_version: 0,
        };
        Ok(Job {
            slot: client as usize % self.clients.fleet.len(),
            client: Some(client),
            request: Request::Train(train),
            weights: Some(Arc::clone(self.received(flight)?)),
            parts: Vec::new(),
            only_scores: false,
        })
    }
}

/// The updates of a round in client order.
#[derive(Debug, Default)]
struct Gathered {
    updates: Vec<ClientUpdate>,
    /// The cause of the first client that returned no update.
    first_failure: Option<Cause>,
}

impl Extend<TrainingOutcome> for Gathered {
    fn extend<I: IntoIterator<Item = TrainingOutcome>>(&mut self, outcomes: I) {
        for outcome in outcomes {
            match outcome {
                Ok(update) => self.updates.push(update),
                Err(cause) => self.first_failure = self.first_failure.take().or(Some(cause)),
            }
        }
    }
}

/// Orders trainings by client, and those of one client as they came.
pub(super) fn in_client_order(mut trained: Vec<(Flight, TrainingOutcome)>) -> Vec<(Flight, TrainingOutcome)> {
    trained.sort_by_key(|(flight, _)| flight.key());
    trained
}

/// Returns the failure of a round whose virtual time left the range of numbers.
pub(super) fn not_finite(round: u64, error: &NotFinite) -> Error {
    Error::Round(format!("round {round} failed: the virtual time {error}; give another --clock or --step-time"))
}

/// Adds the updates to the mean, and gives their buffers to later updates.
fn add(experiment: &Experiment, due: &mut [TrainingOutcome], mean: &mut RunningMean, spare: &Spare) {
    let weight = |update: &ClientUpdate| update.weight(&*experiment.strategy.rules.weighting);
    let members: Vec<_> = due.iter().flatten().map(|update| (weight(update), update.weights.as_slice())).collect();
    mean.add(&members);
    due.iter_mut().flatten().for_each(|update| spare.keep(std::mem::take(&mut update.weights)));
}

#[cfg(test)]
mod tests;
