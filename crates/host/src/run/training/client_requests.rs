//! The requests of a batch of trainings: their last parts, and the updates that answer them.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use fedpipe_data::counted;
use fedpipe_protocol::{Ability, LOCAL, Layout, MOMENTUM, RESIDUAL, Reply, Request, WEIGHTS, feature, with_local};
use fedpipe_record::{cause::Cause, experiment::Experiment};
use fedpipe_strategy::{
    closed_round::{ClientUpdate, Returned},
    local_work::ClientWork,
    slots::Slots,
    term::{Given, Prepared},
};

use crate::{
    error::{Error, Result},
    fleet::job::{Incident, Job, Settled, Submitter},
    run::{
        answers::{slots_of, update_norm::NORM},
        event::Event,
        external_strategy::{Before, ClientPlan, StrategyProgram},
        round::Recorder,
        schedule::flights::Flight,
        training::{Staged, TrainingOutcome},
    },
};

/// The vectors that a client sends back and the host keeps for it until its next request.
const KEPT: [&str; 2] = [RESIDUAL, MOMENTUM];

/// The vectors of a request that a client of a federation would have itself.
const OF_CLIENT: [&str; 3] = [LOCAL, RESIDUAL, MOMENTUM];

/// The submitter of the requests.
pub(super) struct Training<'t, 'j> {
    pub(super) experiment: &'t Experiment,
    pub(super) recorder: Recorder<'t, 'j>,
    pub(super) program: Option<&'t mut StrategyProgram>,
    pub(super) layout: Layout,
    /// The ranges of the local tensors.
    pub(super) local: Vec<Range<usize>>,
    /// `true` if the strategy keeps them local. The model does not know of it, so that the host puts in the values.
    pub(super) puts_local: bool,
    /// The examples of each client.
    pub(super) sizes: &'t [u64],
    /// The clients that were drawn for the round, each as often as it was drawn.
    pub(super) draws: Vec<u32>,
    /// The clients that do a part of the local work, ascending.
    pub(super) stragglers: Vec<u32>,
    /// The trainings, by client.
    pub(super) flights: BTreeMap<u32, Flight>,
    /// The states in the place of those that the last round left.
    pub(super) staged: &'t Staged,
    /// The states of the clients at work, before their trainings.
    pub(super) before: BTreeMap<u32, Slots>,
}

impl Submitter for Training<'_, '_> {
    /// Adds the phases and parts that follow from the client's state.
    fn prepare(&mut self, job: &mut Job) -> Result<()> {
        let Request::Train(train) = &mut job.request else { return Ok(()) };
        let mut state = match self.staged.get(&train.client) {
            Some(state) => state.clone(),
            None => self.recorder.state.clients.state_of(train.client)?,
        };
        if self.local.is_empty() {
            // A strategy before this one kept them.
            state.set_vector(LOCAL, Vec::new());
        }
        self.check_local(train.client, &state)?;
        let received = job.weights.clone().unwrap_or_default();
        let ClientPlan { phases, mut parts } = self.plan(train.client, &received, &state)?;
        train.phases = phases;
        if let Some(own) = self.experiment.strategy.rules.term.own_weights(&state) {
            job.weights = Some(Arc::clone(own));
        }
        if let Some(own) = state.vector(LOCAL).filter(|_| self.puts_local) {
            job.weights = Some(Arc::new(with_local(&received, own, self.local.iter().cloned()).into_owned()));
        }
        let sent = OF_CLIENT.into_iter().filter(|name| *name != LOCAL || !self.puts_local);
        parts.extend(sent.filter_map(|name| Some((name.to_owned(), Arc::clone(state.vector(name)?)))));
        job.parts = parts;
        self.before.insert(train.client, state);
        self.recorder.journal.emit(&Event::TrainingBegun { round: self.recorder.round, client: train.client })
    }

    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
        self.recorder.on_incident(incident)
    }
}

impl Training<'_, '_> {
    /// Returns the phases of a client's training, with their parts: those of the strategy's program, or of the client
    /// term.
    fn plan(&mut self, client: u32, received: &[f32], held: &Slots) -> Result<ClientPlan> {
        let work = self.work(client);
        if let Some(program) = self.program.as_mut().filter(|program| program.can(Ability::Prepare)) {
            let Recorder { round, state, journal } = &mut self.recorder;
            let learning_rate = self.experiment.learning_rate(*round);
            let before = Before { round: *round, learning_rate, server: state.server(), weights: state.weights() };
            return program
                .prepare(&before, (client, work), held, &mut |crash| journal.emit(&Event::StrategyCrashed(crash)));
        }
        let given = self.given(client, received, held);
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
    pub(super) fn outcome(&mut self, job: &Job, settled: Settled) -> TrainingOutcome {
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
        let draws = self.draws.iter().filter(|&&drawn| drawn == header.client).count().max(1) as u32;
        if strategy.term.trains_alone() {
            // Nothing is sent or aggregated: the state has the weights.
            return ClientUpdate { before, after, draws, ..ClientUpdate::new(header, Vec::new()) };
        }
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
        ClientUpdate { header, weights, draws, before, after, bytes_sent, bytes_received, norm: 0.0 }
    }

    /// Returns the facts that the client term may use.
    fn given<'g>(&'g self, client: u32, weights: &'g [f32], state: &'g Slots) -> Given<'g> {
        let learning_rate = self.experiment.learning_rate(self.flights[&client].version + 1);
        let (server, initial) = (self.recorder.state.server(), self.recorder.state.begun_with());
        let work = self.work(client);
        Given { weights, server, client: state, initial, work, learning_rate, layout: &self.layout }
    }

    /// Returns the work of a client.
    fn work(&self, client: u32) -> ClientWork {
        let is_straggler = self.stragglers.binary_search(&client).is_ok();
        self.experiment.work_of(client, self.flights[&client].number, self.sizes[client as usize], is_straggler)
    }
}
