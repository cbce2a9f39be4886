//! The training of a round: the request of each client, and the updates in client order.
//!
//! A request gets its last parts just before it is sent. The client's new state is computed when its update arrives.
//! If the strategy needs only the mean, updates are added to it, a few at a time, as soon as those before them have
//! arrived. The buffers of added updates receive later updates.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use fedpipe_data::counted;
use fedpipe_protocol::{
    Ability, LOCAL, Layout, MOMENTUM, Parts, RESIDUAL, Reply, Request, ScoreStart, Spare, Train, WEIGHTS, feature,
    with_local,
};
use fedpipe_record::{
    cause::Cause,
    experiment::{Experiment, LocalSection},
};
use fedpipe_strategy::{
    attack::Attackers,
    closed_round::{ClientUpdate, Returned},
    local_optimiser::to_json,
    local_work::ClientWork,
    range::{GREATEST_OF_A_CLIENT, first_beyond, shown},
    slots::Slots,
    term::{Given, Prepared},
};

use crate::{
    error::{Error, Result},
    fleet::{
        job::{Check, Incident, Job, Settled, Submitter},
        job_queue::SettledJob,
    },
    run::{
        active::ActiveRun,
        aggregate::{AllCores, RunningMean},
        answers::{
            self, Expected, slots_of,
            steps::{Accumulation, most_steps},
            update_norm::NORM,
        },
        clients::Clients,
        event::Event,
        external_strategy::{Before, ClientPlan, StrategyProgram},
        round::Recorder,
        schedule::synchronous::{InOrder, Synchronous},
    },
};

/// The updates that are added together, so that the sums are loaded and stored once for all of them.
const TOGETHER: usize = 4;

/// The vectors that a client sends back and the host keeps for it until its next request.
const KEPT: [&str; 2] = [RESIDUAL, MOMENTUM];

/// The vectors of a request that a client of a federation would have itself.
const OF_CLIENT: [&str; 3] = [LOCAL, RESIDUAL, MOMENTUM];

impl ActiveRun<'_> {
    /// Has the `sampled` clients train from the global weights, and returns their updates in client order.
    pub(super) fn train(&mut self, round: u64, sampled: &[u32]) -> Result<Vec<ClientUpdate>> {
        self.journal.emit(&Event::RoundStarted { round, sampled })?;
        let gathered = self.gather(round, sampled);
        // The isolation is recorded even if the work failed.
        let recorded = self.clients.record_isolation(&mut self.journal);
        let mut gathered = gathered.and_then(|gathered| recorded.map(|()| gathered))?;
        self.attack(round, &mut gathered)?;
        let Gathered { updates, first_failure, .. } = gathered;
        let quorum = self.context.experiment.quorum(sampled.len() as u32);
        if updates.len() >= quorum as usize {
            return Ok(updates);
        }
        let cause = first_failure.map_or(String::new(), |cause| format!("{}: {cause}", self.origin(&cause)));
        let (got, sampled) = (updates.len(), counted(sampled.len(), "client"));
        Err(Error::Round(format!(
            "round {round} failed: {got} of {sampled} returned an update (quorum {quorum}){cause}"
        )))
    }

    /// Returns `true` if the updates are added to the mean as they arrive.
    pub(super) fn adds_on_arrival(&self) -> bool {
        self.clients.program.is_none() && self.context.experiment.strategy.rules.needs_only_mean()
    }

    fn gather(&mut self, round: u64, sampled: &[u32]) -> Result<Gathered> {
        let check = self.update_check()?;
        let attackers = self.context.experiment.attackers();
        let draws = self.context.experiment.draws(round, &self.clients.sizes);
        let stragglers = self.context.experiment.stragglers(round, &self.clients.sizes);
        let jobs: Vec<Job> = sampled.iter().map(|&client| self.job(round, client, &attackers)).collect();
        let layout = self.clients.layout()?.clone();
        let local = layout.local_ranges().collect();
        let puts_local = self.clients.kept_local.is_some();
        let adds_on_arrival = self.adds_on_arrival();
        let Self { clients: Clients { fleet, mean, spare, program, sizes, .. }, state, journal, context, .. } = self;
        let experiment = context.experiment;
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
            before: BTreeMap::new(),
        };
        let (mut in_order, mut due, mut gathered) = (InOrder::default(), Vec::new(), Gathered::default());
        let mut use_all = |due: &mut Vec<_>| {
            if adds_on_arrival {
                add(experiment, due, mean, spare);
            }
            gathered.extend(due.drain(..));
        };
        let schedule = Synchronous::submit(fleet, jobs, &check);
        while let Some((index, SettledJob { job, settled, .. })) = schedule.next(fleet, round, &mut training)? {
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
    pub(super) fn job(&self, round: u64, client: u32, attackers: &[u32]) -> Job {
        let Experiment { local, until_converged, strategy, .. } = self.context.experiment;
        let train = Train {
            client,
            round,
            batch_size: local.batch_size,
            learning_rate: self.context.experiment.learning_rate(round),
            optimiser: to_json(&local.optimiser),
            keeps_momentum: local.optimiser.keeps_momentum(),
            flip_labels: strategy.rules.attack.flips_labels() && attackers.contains(&client),
            phases: Vec::new(),
            transforms: strategy.rules.transforms.texts(),
            score_start: strategy.rules.aggregator.score_start().or(until_converged.then_some(ScoreStart::Rows)),
            weights_version: 0,
        };
        Job {
            slot: client as usize % self.clients.fleet.len(),
            client: Some(client),
            request: Request::Train(train),
            weights: Some(Arc::clone(self.state.weights())),
            parts: Vec::new(),
        }
    }
}

/// The updates of a round in client order.
#[derive(Debug, Default)]
struct Gathered {
    updates: Vec<ClientUpdate>,
    /// The cause of the first client that returned no update.
    first_failure: Option<Cause>,
}

impl Extend<std::result::Result<ClientUpdate, Cause>> for Gathered {
    fn extend<I: IntoIterator<Item = std::result::Result<ClientUpdate, Cause>>>(&mut self, outcomes: I) {
        for outcome in outcomes {
            match outcome {
                Ok(update) => self.updates.push(update),
                Err(cause) => self.first_failure = self.first_failure.take().or(Some(cause)),
            }
        }
    }
}

/// Adds the updates to the mean, and gives their buffers to later updates.
fn add(
    experiment: &Experiment,
    due: &mut [std::result::Result<ClientUpdate, Cause>],
    mean: &mut RunningMean,
    spare: &Spare,
) {
    let weight = |update: &ClientUpdate| update.weight(&*experiment.strategy.rules.weighting);
    let members: Vec<_> = due.iter().flatten().map(|update| (weight(update), update.weights.as_slice())).collect();
    mean.add(&members);
    due.iter_mut().flatten().for_each(|update| spare.keep(std::mem::take(&mut update.weights)));
}

/// The submitter of a round's requests.
struct Training<'t, 'j> {
    experiment: &'t Experiment,
    recorder: Recorder<'t, 'j>,
    program: Option<&'t mut StrategyProgram>,
    layout: Layout,
    /// The ranges of the local tensors.
    local: Vec<Range<usize>>,
    /// `true` if the strategy keeps them local. The model does not know of it, so that the host puts in the values.
    puts_local: bool,
    /// The examples of each client.
    sizes: &'t [u64],
    /// The clients that were drawn for the round, each as often as it was drawn.
    draws: Vec<u32>,
    /// The clients that do a part of the local work, ascending.
    stragglers: Vec<u32>,
    /// The states of the clients at work, before the round.
    before: BTreeMap<u32, Slots>,
}

impl Submitter for Training<'_, '_> {
    /// Adds the phases and parts that follow from the client's state.
    fn prepare(&mut self, job: &mut Job) -> Result<()> {
        let Request::Train(train) = &mut job.request else { return Ok(()) };
        let mut state = self.recorder.state.clients.state_of(train.client)?;
        if self.local.is_empty() {
            // A strategy before this one kept them.
            state.set_vector(LOCAL, Vec::new());
        }
        self.check_local(train.client, &state)?;
        let ClientPlan { phases, mut parts } = self.plan(train.client, &state)?;
        train.phases = phases;
        if let Some(own) = state.vector(LOCAL).filter(|_| self.puts_local) {
            let shared = job.weights.take().unwrap_or_default();
            job.weights = Some(Arc::new(with_local(&shared, own, self.local.iter().cloned()).into_owned()));
        }
        let sent = OF_CLIENT.into_iter().filter(|name| *name != LOCAL || !self.puts_local);
        parts.extend(sent.filter_map(|name| Some((name.to_owned(), Arc::clone(state.vector(name)?)))));
        job.parts = parts;
        self.before.insert(train.client, state);
        self.recorder.journal.emit(&Event::TrainingBegun { round: train.round, client: train.client })
    }

    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
        self.recorder.on_incident(incident)
    }
}

impl Training<'_, '_> {
    /// Returns the phases of a client's training, with their parts: those of the strategy's program, or of the client
    /// term.
    fn plan(&mut self, client: u32, held: &Slots) -> Result<ClientPlan> {
        let work = self.work(client);
        if let Some(program) = self.program.as_mut().filter(|program| program.can(Ability::Prepare)) {
            let Recorder { round, state, journal } = &mut self.recorder;
            let learning_rate = self.experiment.learning_rate(*round);
            let before = Before { round: *round, learning_rate, server: state.server(), weights: state.weights() };
            return program
                .prepare(&before, (client, work), held, &mut |crash| journal.emit(&Event::StrategyCrashed(crash)));
        }
        let given = self.given(client, self.recorder.state.weights(), held);
        let rules = &self.experiment.strategy.rules;
        let Prepared { phases, parts } = rules.term.prepare(&given);
        // The clients were asked for the listed features before the first round.
        let of_training = self.experiment.local.features().map(|(name, _)| name);
        let listed: Vec<String> = rules.features().into_iter().chain(of_training).collect();
        if let Some(needed) = feature::unlisted(&phases, &listed) {
            let term = &rules.term;
            return Err(
                anyhow::anyhow!("the client term {term} needs the feature {needed:?}, which it does not list").into()
            );
        }
        Ok(ClientPlan { phases, parts })
    }

    /// Refuses a state that a model with other local tensors left.
    fn check_local(&self, client: u32, state: &Slots) -> Result<()> {
        let count: usize = self.local.iter().map(Range::len).sum();
        match state.vector(LOCAL).map(|own| own.len()) {
            Some(held) if held != count => Err(Error::Output(format!(
                "the state of client {client} has {} of local tensors, and the run {count}; resume it with its own model and \
                 strategy",
                counted(held, "value")
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the update of a client, or the cause why there is none.
    fn outcome(&mut self, job: &Job, settled: Settled) -> std::result::Result<ClientUpdate, Cause> {
        let before = job.client.and_then(|client| self.before.remove(&client)).unwrap_or_default();
        match settled {
            Ok((Reply::Update(header), mut parts)) => {
                let weights = parts.take_f32(WEIGHTS).unwrap_or_default();
                let slots = slots_of(job).filter_map(|(index, name)| Some((index, parts.take_f32(&name)?))).collect();
                let norm = parts.take_f32(NORM).and_then(|norm| norm.first().copied()).unwrap_or_default();
                let kept = KEPT.into_iter().filter_map(|name| Some((name, parts.take_f32(name)?))).collect();
                Ok(ClientUpdate { norm, ..self.accept(job, Returned { header, weights, slots }, kept, before) })
            }
            Ok((reply, _)) => Err(Cause::protocol(format!("it answered a request to train with {:?}", reply.kind()))),
            Err(exit) => Err(exit.cause),
        }
    }

    /// Returns an update with the client's state after it, which has the vectors that the client `kept`. The values of
    /// the local tensors go into the state. The update has the global ones in their place, so that no rule and no
    /// program sees a client's own.
    fn accept(
        &self,
        job: &Job,
        returned: Returned,
        kept: Vec<(&'static str, Vec<f32>)>,
        before: Slots,
    ) -> ClientUpdate {
        let strategy = &self.experiment.strategy.rules;
        let start = job.start(&self.local);
        let mut after = strategy.term.accept(&self.given(returned.header.client, &start, &before), &returned);
        kept.into_iter().for_each(|(name, values)| after.set_vector(name, values));
        let Returned { header, mut weights, .. } = returned;
        if !self.local.is_empty() {
            let own = self.local.iter().flat_map(|range| &weights[range.clone()]);
            after.set_vector(LOCAL, own.copied().collect());
        }
        let global = self.recorder.state.weights();
        self.local.iter().for_each(|range| weights[range.clone()].copy_from_slice(&global[range.clone()]));
        let local: u64 = self.local.iter().map(|range| size_of::<f32>() as u64 * range.len() as u64).sum();
        let shared = size_of_val(weights.as_slice()) as u64 - local;
        // A client of a federation would keep its own state. The parts that follow from it are not counted as sent.
        let corrections = job.parts.iter().filter(|(name, _)| !OF_CLIENT.contains(&name.as_str())).count() as u64;
        let is_own = self.program.is_none() && strategy.term.is_of_client();
        let bytes_sent = shared * if is_own { 1 } else { 1 + corrections };
        let bytes_received = strategy.transforms.payload(weights.len()) - local;
        let draws = self.draws.iter().filter(|&&drawn| drawn == header.client).count().max(1) as u32;
        ClientUpdate { header, weights, draws, before, after, bytes_sent, bytes_received, norm: 0.0 }
    }

    /// Returns the facts that the client term may use.
    fn given<'g>(&'g self, client: u32, weights: &'g [f32], state: &'g Slots) -> Given<'g> {
        let learning_rate = self.experiment.learning_rate(self.recorder.round);
        let (server, initial) = (self.recorder.state.server(), self.recorder.state.begun_with());
        let work = self.work(client);
        Given { weights, server, client: state, initial, work, learning_rate, layout: &self.layout }
    }

    /// Returns the work of a client in the round.
    fn work(&self, client: u32) -> ClientWork {
        let Experiment { local, .. } = self.experiment;
        let is_straggler = self.stragglers.binary_search(&client).is_ok();
        let key = (self.experiment.sample_seed(), client, self.recorder.round);
        local.uneven.of_client(local.work(), key, is_straggler).over(self.sizes[client as usize], local.batch_size)
    }
}

#[cfg(test)]
mod tests;
