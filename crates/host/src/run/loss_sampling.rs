//! The clients of a round by their losses: candidates score the global weights, and the sampler chooses among them.
//!
//! A candidate is asked by a request to train for no epoch, which any client with the feature `score-start` answers.

use std::{ops::Range, sync::Arc};

use fedpipe_data::counted;
use fedpipe_protocol::{LOCAL, Parts, Phase, Reply, Request, ScoreStart, Train, with_local};
use fedpipe_strategy::term::ClientTerm;

use crate::{
    error::{Error, Result},
    fleet::{
        job::{Check, Incident, Job, Submitter},
        job_queue::SettledJob,
    },
    run::{
        active::ActiveRun,
        answers::{self, Expected},
        clients::Clients,
        event::Journal,
        round::{Sample, record_crash},
        schedule::{flights::Flight, job_batch::JobBatch},
        state::RunState,
    },
};

impl ActiveRun<'_> {
    /// Returns the clients of a round that the losses of the candidates choose. A candidate whose process crashed twice
    /// is not chosen.
    pub(super) fn choose(&mut self, round: u64) -> Result<Sample> {
        let experiment = self.context.experiment;
        let candidates = experiment.sample(round, &self.clients.sizes);
        let count = experiment.sampled_clients().min(candidates.len() as u32);
        let bytes_asked = self.bytes_asked(candidates.len() as u64 - u64::from(count))?;
        // A run that repeats another run has the same participants.
        if let Some(replayed) = self.context.launch.replay.get(&round) {
            return Ok(Sample { clients: replayed.clone(), bytes_asked });
        }
        let attackers = experiment.attackers();
        let ask = |client: &u32| -> Result<Job> {
            let job = self.job(&Flight::untimed(*client, round), &attackers)?;
            let request = match job.request {
                Request::Train(train) => Request::Train(Train {
                    phases: vec![Phase::plain(0)],
                    transforms: Vec::new(),
                    keeps_momentum: false,
                    score_start: Some(ScoreStart::All),
                    ..train
                }),
                request => request,
            };
            Ok(Job { request, only_scores: true, ..job })
        };
        let jobs: Vec<Job> = candidates.iter().map(ask).collect::<Result<_>>()?;
        let check = self.loss_check();
        let term = &*experiment.strategy.rules.term;
        let local = self.clients.layout()?.local_ranges().collect();
        let Self { clients: Clients { fleet, .. }, state, journal, .. } = self;
        let mut asking = Asking { term, local, state, journal };
        let mut losses = vec![None; jobs.len()];
        let batch = JobBatch::submit(fleet, jobs, &check);
        while let Some((index, SettledJob { job, settled, .. })) = batch.next(fleet, round, &mut asking)? {
            if let (Some(client), Ok((Reply::Update(update), _))) = (job.client, settled) {
                losses[index] = update.start.map(|start| (client, start.loss_sum / start.examples.max(1) as f64));
            }
        }
        let losses: Vec<(u32, f64)> = losses.into_iter().flatten().collect();
        self.clients.record_isolation(&mut self.journal)?;
        let quorum = experiment.quorum(count);
        if losses.len() < quorum as usize {
            let (answered, asked) = (losses.len(), counted(candidates.len(), "candidate"));
            return Err(Error::Round(format!(
                "round {round} failed: {answered} of {asked} answered with a loss (quorum {quorum}); \
                 `fedpipe run --resume` tries it again"
            )));
        }
        Ok(Sample { clients: experiment.strategy.sampler.choose(count, &losses), bytes_asked })
    }

    /// Returns the bytes of the weights that so many clients receive to score them.
    fn bytes_asked(&self, clients: u64) -> Result<u64> {
        let layout = self.clients.layout()?;
        let local: u64 = layout.local_ranges().map(|range| range.len() as u64).sum();
        let is_alone = self.context.experiment.strategy.rules.term.trains_alone();
        let bytes = size_of::<f32>() as u64 * (layout.weight_count() as u64 - local);
        Ok(if is_alone { 0 } else { clients * bytes })
    }

    /// Returns the check of a candidate's answer.
    fn loss_check(&self) -> Arc<Check> {
        let (sizes, remedy) = (self.clients.sizes.clone(), self.clients.remedy.clone());
        Arc::new(move |job: &Job, reply: &Reply, parts: &mut Parts, weights: usize| {
            let expected = Expected { weights, sizes: &sizes, local: &[], accumulation: None, remedy: &remedy };
            answers::scored(job, reply, parts, &expected)
        })
    }
}

/// The submitter of the requests.
struct Asking<'a, 'j> {
    term: &'a dyn ClientTerm,
    /// The ranges of the local tensors.
    local: Vec<Range<usize>>,
    state: &'a mut RunState,
    journal: &'a mut Journal<'j>,
}

impl Submitter for Asking<'_, '_> {
    /// Puts in what the client has of its own: its local tensors, or all of its weights if it trains alone.
    fn prepare(&mut self, job: &mut Job) -> Result<()> {
        let Some(client) = job.client else { return Ok(()) };
        let held = self.state.clients.state_of(client)?;
        if let Some(own) = self.term.own_weights(&held) {
            job.weights = Some(Arc::clone(own));
        }
        if let Some(own) = held.vector(LOCAL).filter(|_| !self.local.is_empty()) {
            let shared = job.weights.take().unwrap_or_default();
            job.weights = Some(Arc::new(with_local(&shared, own, self.local.iter().cloned()).into_owned()));
        }
        Ok(())
    }

    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
        record_crash(&incident, self.state, self.journal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use fedpipe_protocol::{Ready, StartScore, Update, feature};
    use fedpipe_record::experiment::Experiment;
    use fedpipe_strategy::strategy::StrategyRows;

    use crate::{
        process::scripted::{ScriptedClient, exit, ready},
        run::scripted_run::{Stage, experiment},
    };

    use super::*;

    /// The losses of the clients, over one row each.
    const LOSSES: [f64; 4] = [0.5, 2.0, 1.0, 4.0];

    fn choosing(candidates: u32) -> Experiment {
        let sample = Some(format!("power-of-choice:{candidates}").parse().unwrap());
        let mut experiment = experiment();
        experiment.strategy.rules = StrategyRows { sample, ..StrategyRows::default() }.into();
        experiment.clients.fraction = 0.5;
        experiment
    }

    /// Returns the clients that were asked for a loss, those that trained, and the bytes for the former.
    fn first_round(experiment: Experiment, fails: Option<u32>) -> (Vec<u32>, Vec<u32>, u64) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let script = move |client: &mut ScriptedClient| {
            client.greet();
            client.say(&Reply::Ready(Ready { features: vec![feature::SCORE_START.into()], ..ready() }), None);
            while let Some((request, parts)) = client.next() {
                match &request {
                    Request::Train(train) if train.phases[0].epochs == 0 => {
                        if fails == Some(train.client) {
                            return exit(3);
                        }
                        noted.lock().unwrap().push(train.client);
                        let start = Some(StartScore { loss_sum: LOSSES[train.client as usize], examples: 1 });
                        let update = Update { start, steps: 0, ..Update::plain(train.client, train.round, 1) };
                        client.say(&Reply::Update(update), Some(&[0.0, 0.0]));
                    }
                    _ => client.answer(&request, parts),
                }
            }
            exit(0)
        };
        let result = Stage::new(experiment).begin(script, |mut run| run.round(1)).unwrap();
        let trained = result.updates.iter().map(|update| update.header.client).collect();
        let mut asked = asked.lock().unwrap().clone();
        asked.sort_unstable();
        (asked, trained, result.bytes_asked)
    }

    #[test]
    fn the_candidates_with_the_greatest_losses_train() {
        assert_eq!(first_round(choosing(4), None), (vec![0, 1, 2, 3], vec![1, 3], 2 * 8));
        let (asked, trained, bytes) = first_round(choosing(3), None);
        let mut by_loss = asked.clone();
        by_loss.sort_by(|a, b| LOSSES[*b as usize].total_cmp(&LOSSES[*a as usize]));
        by_loss.truncate(2);
        by_loss.sort_unstable();
        assert_eq!((asked.len(), trained, bytes), (3, by_loss, 8));
    }

    #[test]
    fn a_candidate_that_crashes_is_not_chosen() {
        assert_eq!(first_round(choosing(4), Some(3)), (vec![0, 1, 2], vec![1, 2], 2 * 8));
    }
}
