//! The scores of the global weights, and of personal ones, on the held-out examples of clients, after a round.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use fedpipe_protocol::{BlockSums, Evaluate, LOCAL, Parts, Reply, Request, Target, with_local};
use fedpipe_record::client_scores::{ClientScore, ClientScores};
use fedpipe_strategy::{closed_round::ClientUpdate, slots::Slots};

use crate::{
    error::{Error, Result},
    fleet::{
        job::{Check, Incident, Job, Submitter},
        job_queue::SettledJob,
    },
    run::{
        active::ActiveRun,
        clients::Clients,
        evaluation_answers::{self, ExpectedScores},
        event::Journal,
        real_target,
        round::{TestScore, record_crash},
        schedule::job_batch::JobBatch,
        state::RunState,
    },
};

/// The scores of clients after a round; none if no client was scored.
#[derive(Debug, Clone, Default)]
pub(super) struct RoundScores {
    /// Those of clients that train, with the global weights.
    pub(super) held_out: Option<ClientScores>,
    /// Those of the same clients that have a model of their own, each with that; of all of them if they are fine-tuned.
    pub(super) personal: Option<ClientScores>,
    /// Those of clients that never train.
    pub(super) new_clients: Option<ClientScores>,
}

impl RoundScores {
    /// Returns `true` if a client was scored.
    pub(super) fn is_some(&self) -> bool {
        let Self { held_out, personal, new_clients } = self;
        [held_out, personal, new_clients].iter().any(|scores| scores.is_some())
    }
}

impl ActiveRun<'_> {
    /// Scores `weights` on the held-out examples of the clients that the experiment names, if it scores clients after
    /// this round. A client whose process crashed twice has no score. Where tensors stay with the clients, `weights`
    /// are no whole model: of the clients that train, the own models alone are scored.
    pub(super) fn score_clients(
        &mut self,
        round: u64,
        updates: &[ClientUpdate],
        weights: &Arc<Vec<f32>>,
    ) -> Result<RoundScores> {
        let experiment = self.context.experiment;
        if !experiment.scores_clients_after(round) {
            return Ok(RoundScores::default());
        }
        let mut participants: Vec<u32> = updates.iter().map(|update| update.header.client).collect();
        participants.dedup();
        let of_training = experiment.scored_clients(round, &participants);
        if experiment.strategy.rules.term.trains_alone() {
            let own = OwnValues::whole(self.own_weights(&of_training, updates)?, weights.len());
            let held_out = self.score_each(round, &of_training, weights, &own)?;
            let new_clients = self.score_each(round, &experiment.new_clients(), weights, &OwnValues::default())?;
            self.clients.record_isolation(&mut self.journal)?;
            return Ok(RoundScores { held_out, new_clients, personal: None });
        }
        let held_out = if self.clients.local_tensors()?.is_empty() {
            self.score_each(round, &of_training, weights, &OwnValues::default())?
        } else {
            None
        };
        let own = self.own_values(&of_training, updates, weights.len())?;
        let personal = self.score_own(round, &of_training, weights, &own)?;
        let new_clients = self.score_each(round, &experiment.new_clients(), weights, &OwnValues::default())?;
        self.clients.record_isolation(&mut self.journal)?;
        Ok(RoundScores { held_out, personal, new_clients })
    }

    /// Scores `weights`, with the `own` values of each client, on the held-out examples of all clients that train.
    ///
    /// # Errors
    /// [`Error::Round`] if no client could be scored.
    pub(super) fn score_all_clients(
        &mut self,
        round: u64,
        weights: &Arc<Vec<f32>>,
        own: &OwnValues,
    ) -> Result<TestScore> {
        let all = self.context.experiment.training_list();
        let scores = self.score_each(round, &all, weights, own)?;
        self.clients.record_isolation(&mut self.journal)?;
        let none = || Error::Round(format!("round {round} could not be evaluated: no client returned a score"));
        let ClientScores { loss, accuracy, errors, .. } = scores.ok_or_else(none)?;
        Ok(TestScore { loss: loss.mean, accuracy: accuracy.map(|of| of.mean), regression: errors })
    }

    /// Scores the own model of each of these clients: that with its `own` values, fine-tuned if the experiment asks for
    /// it.
    fn score_own(
        &mut self,
        round: u64,
        clients: &[u32],
        weights: &Arc<Vec<f32>>,
        own: &OwnValues,
    ) -> Result<Option<ClientScores>> {
        let epochs = self.context.experiment.fine_tuning_epochs();
        if epochs == 0 {
            let with_own: Vec<u32> = own.by_client.keys().copied().collect();
            return self.score_each(round, &with_own, weights, own);
        }
        let mut scores = Vec::with_capacity(clients.len());
        // No more tuned weights are in memory than the processes have.
        for clients in clients.chunks(self.clients.fleet.len()) {
            let tuned = self.fine_tune((round, epochs), clients, weights, own)?;
            let clients: Vec<u32> = tuned.by_client.keys().copied().collect();
            scores.extend(self.scores(round, &clients, weights, &tuned)?);
        }
        together(round, &scores)
    }

    /// Returns the own values of those of the clients that have some after the round with these updates.
    fn own_values(&self, clients: &[u32], updates: &[ClientUpdate], weight_count: usize) -> Result<OwnValues> {
        let own_model = self.context.experiment.strategy.rules.term.own_model();
        let slot = own_model.unwrap_or(LOCAL);
        let ranges: Vec<_> = match own_model {
            Some(_) => std::iter::once(0..weight_count).collect(),
            None => self.clients.layout()?.local_ranges().collect(),
        };
        let mut by_client = BTreeMap::new();
        for &client in clients.iter().filter(|_| !ranges.is_empty()) {
            let own = self.state_after(client, updates)?.vector(slot).cloned();
            // A model of its own begins with the initial weights.
            let own = own.or_else(|| own_model.map(|_| Arc::clone(self.state.begun_with())));
            by_client.extend(own.map(|own| (client, own)));
        }
        Ok(OwnValues { ranges, by_client })
    }

    /// Returns the state of a client after the round with these updates.
    pub(super) fn state_after(&self, client: u32, updates: &[ClientUpdate]) -> Result<Slots> {
        // In virtual time a client may have several updates, of which the last one has the newest state.
        match updates.iter().rfind(|update| update.header.client == client) {
            Some(update) => Ok(update.after.clone()),
            None => self.state.clients.state_of(client),
        }
    }

    /// Scores `weights` on the held-out examples of each of these clients that has some, with the client's `own` values
    /// in them.
    fn score_each(
        &mut self,
        round: u64,
        clients: &[u32],
        weights: &Arc<Vec<f32>>,
        own: &OwnValues,
    ) -> Result<Option<ClientScores>> {
        let scores = self.scores(round, clients, weights, own)?;
        together(round, &scores)
    }

    /// Returns the scores of [`ActiveRun::score_each`], in the order of the clients.
    fn scores(
        &mut self,
        round: u64,
        clients: &[u32],
        weights: &Arc<Vec<f32>>,
        own: &OwnValues,
    ) -> Result<Vec<ClientScore>> {
        let check = self.score_check();
        let Self { clients: Clients { fleet, held_out, target, .. }, state, journal, .. } = self;
        let target = *target;
        let job = |&client: &u32| Job {
            slot: client as usize % fleet.len(),
            client: Some(client),
            request: Request::Evaluate(Evaluate::held_out(client, held_out[client as usize])),
            weights: Some(Arc::clone(weights)),
            parts: Vec::new(),
            only_scores: true,
        };
        let has_examples = |client: &&u32| held_out[**client as usize] > 0;
        let jobs: Vec<Job> = clients.iter().filter(has_examples).map(job).collect();
        let mut scoring = Scoring { own, state, journal };
        let mut scores = vec![None; jobs.len()];
        let batch = JobBatch::submit(fleet, jobs, &check);
        while let Some((index, SettledJob { job, settled, .. })) = batch.next(fleet, round, &mut scoring)? {
            if let (Some(client), Ok((Reply::Evaluated { blocks }, _))) = (job.client, settled) {
                scores[index] = Some(score_of(client, &blocks, target));
            }
        }
        Ok(scores.into_iter().flatten().collect())
    }

    /// Returns the check of the sums over a client's held-out examples.
    fn score_check(&self) -> Arc<Check> {
        let Clients { held_out, remedy, target, .. } = &self.clients;
        let (held_out, remedy, target) = (held_out.clone(), remedy.clone(), *target);
        Arc::new(move |job: &Job, reply: &Reply, parts: &mut Parts, _: usize| {
            let examples = job.client.map_or(0, |client| held_out[client as usize]);
            evaluation_answers::evaluated(job, reply, parts, &ExpectedScores { examples, target, remedy: &remedy })
        })
    }
}

/// The values that clients have for themselves, in these ranges of the flat weights.
#[derive(Debug, Default)]
pub(super) struct OwnValues {
    pub(super) ranges: Vec<Range<usize>>,
    pub(super) by_client: BTreeMap<u32, Arc<Vec<f32>>>,
}

impl OwnValues {
    /// Returns the values of clients that have all of their weights for themselves.
    pub(super) fn whole(by_client: BTreeMap<u32, Arc<Vec<f32>>>, weight_count: usize) -> Self {
        Self { ranges: std::iter::once(0..weight_count).collect(), by_client }
    }
}

/// The submitter of the requests.
pub(super) struct Scoring<'s, 'j> {
    pub(super) own: &'s OwnValues,
    pub(super) state: &'s mut RunState,
    pub(super) journal: &'s mut Journal<'j>,
}

impl Submitter for Scoring<'_, '_> {
    /// Puts the client's own values into the weights, so that jobs that wait share the weights.
    fn prepare(&mut self, job: &mut Job) -> Result<()> {
        if let Some(own) = job.client.and_then(|client| self.own.by_client.get(&client)) {
            let shared = job.weights.take().unwrap_or_default();
            job.weights = Some(Arc::new(with_local(&shared, own, self.own.ranges.iter().cloned()).into_owned()));
        }
        Ok(())
    }

    fn on_incident(&mut self, incident: Incident<'_>) -> Result<()> {
        record_crash(&incident, self.state, self.journal)
    }
}

/// Returns the scores of a round's clients together; `None` if there are none.
fn together(round: u64, scores: &[ClientScore]) -> Result<Option<ClientScores>> {
    ClientScores::new(scores)
        .map_err(|error| Error::Round(format!("round {round} failed: a score on held-out examples {error}")))
}

/// Returns the sums of a client, which are added in block order.
fn score_of(client: u32, blocks: &[BlockSums], target: Target) -> ClientScore {
    ClientScore {
        client,
        examples: blocks.iter().map(|block| block.examples).sum(),
        correct: (target != Target::Real).then(|| blocks.iter().map(|block| block.correct).sum()),
        errors: real_target::sums(blocks),
        loss_sum: blocks.iter().fold(0.0, |sum, block| sum + block.loss_sum),
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use fedpipe_record::{
        evaluated_clients::EvaluatedClients,
        experiment::{Experiment, OnFailure},
        history::History,
    };

    use super::*;
    use crate::{
        process::scripted::{ScriptedClient, exit, ready},
        run::scripted_run::{Stage, experiment},
    };

    /// Serves with one correct prediction of three for client 1, two for client 2 and so on. The process exits in place
    /// of each score of the client `crashes`.
    fn serve_scores(client: &mut ScriptedClient, crashes: Option<u32>) -> ExitStatus {
        client.greet();
        client.say(&Reply::Ready(ready()), None);
        while let Some((request, parts)) = client.next() {
            match &request {
                Request::Evaluate(Evaluate { client, .. }) if client.is_some() && *client == crashes => return exit(3),
                Request::Evaluate(Evaluate { client: Some(scored), blocks, .. }) => {
                    let (loss_sum, correct) = (f64::from(*scored), u64::from(*scored));
                    let sums = BlockSums { block: blocks[0], loss_sum, correct, examples: 3, regression: None };
                    client.say(&Reply::Evaluated { blocks: vec![sums] }, None);
                }
                _ => client.answer(&request, parts),
            }
        }
        exit(0)
    }

    /// Returns the participants and the scores of the first rounds.
    fn scores(
        change: impl FnOnce(&mut Experiment),
        crashes: Option<u32>,
        rounds: u64,
    ) -> (Vec<(Vec<u32>, RoundScores)>, History) {
        let mut experiment = experiment();
        experiment.data.holdout = 0.5;
        change(&mut experiment);
        let stage = Stage::new(experiment);
        stage.begin(
            move |client: &mut ScriptedClient| serve_scores(client, crashes),
            |mut run| {
                run.clients.held_out = vec![3; 4];
                let mut round = |number| {
                    let result = run.round(number).unwrap();
                    let participants = result.updates.iter().map(|update| update.header.client).collect();
                    (participants, result.client_scores)
                };
                let scored = (1..=rounds).map(&mut round).collect();
                (scored, stage.history())
            },
        )
    }

    fn clients(scores: &Option<ClientScores>) -> &[u32] {
        scores.as_ref().map_or(&[], |scores| &scores.clients)
    }

    #[test]
    fn the_scores_of_a_round_are_in_client_order() {
        let (scored, _) = scores(|_| (), None, 1);
        let held_out = scored[0].1.held_out.as_ref().unwrap();
        assert_eq!((&held_out.clients[..], &held_out.correct[..]), (&[0, 1, 2, 3][..], &[0, 1, 2, 3][..]));
        assert_eq!([held_out.accuracy.unwrap().mean, held_out.accuracy.unwrap().worst].map(|of| of.get()), [0.5, 0.0]);
        assert_eq!([held_out.loss.mean, held_out.loss.worst].map(|of| of.get()), [0.5, 1.0]);
        assert_eq!(scored[0].1.new_clients, None);
    }

    #[test]
    fn clients_are_scored_every_so_many_rounds_and_not_without_held_out_examples() {
        let (scored, _) = scores(|of| of.evaluation.every = 2, None, 4);
        assert_eq!(
            scored.iter().map(|(_, scores)| scores.held_out.is_some()).collect::<Vec<_>>(),
            [false, true, false, true]
        );
        let (scored, _) = scores(|of| of.data.holdout = 0.0, None, 1);
        assert_eq!(scored[0].1.held_out, None);
    }

    #[test]
    fn the_experiment_names_the_clients_that_are_scored() {
        let half = |clients| move |of: &mut Experiment| (of.clients.fraction, of.evaluation.clients) = (0.5, clients);
        let (scored, _) = scores(half(EvaluatedClients::Sampled), None, 3);
        for (participants, scores) in &scored {
            assert_eq!((participants.len(), clients(&scores.held_out)), (2, &participants[..]));
        }
        let (scored, _) = scores(half(EvaluatedClients::Count(3)), None, 8);
        let drawn: Vec<_> = scored.iter().map(|(_, scores)| clients(&scores.held_out)).collect();
        assert!(drawn.iter().all(|clients| clients.len() == 3 && clients.is_sorted()), "{drawn:?}");
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "{drawn:?}");
    }

    #[test]
    fn new_clients_never_train_and_are_scored_apart() {
        let new = |of: &mut Experiment| of.data.holdout_clients = 0.25;
        let (scored, _) = scores(new, None, 3);
        let [alone] = clients(&scored[0].1.new_clients) else { panic!("{scored:?}") };
        for (participants, scores) in &scored {
            assert_eq!((participants.len(), clients(&scores.held_out)), (3, &participants[..]));
            assert!(!participants.contains(alone) && clients(&scores.new_clients) == [*alone]);
        }
    }

    #[test]
    fn a_crash_costs_the_score_of_one_client_and_is_named() {
        for (policy, failures) in [(OnFailure::Drop, 1), (OnFailure::Retry, 2)] {
            let (scored, history) = scores(|of| of.clients.on_failure = policy, Some(2), 1);
            assert_eq!((clients(&scored[0].1.held_out), scored[0].0.len()), (&[0, 1, 3][..], 4), "{policy:?}");
            assert_eq!((history.failures, history.unscored), (failures, [(1, 2)].into()), "{policy:?}");
        }
    }
}
