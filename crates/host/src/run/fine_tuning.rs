//! Fine-tuning: a client trains its own model some epochs more before it is scored. No update and no state has a part
//! of it.

use std::{collections::BTreeMap, sync::Arc};

use fedpipe_protocol::{Reply, Request, WEIGHTS};

use crate::{
    error::Result,
    fleet::{job::Job, job_queue::SettledJob},
    run::{
        active::ActiveRun,
        client_scoring::{OwnValues, Scoring},
        clients::Clients,
        schedule::{flights::Flight, job_batch::JobBatch},
    },
};

impl ActiveRun<'_> {
    /// Has these clients train for so many epochs from `weights` with their `own` values, and returns the weights of
    /// each that has held-out examples. A client whose process crashed twice has none.
    pub(super) fn fine_tune(
        &mut self,
        (round, epochs): (u64, u64),
        clients: &[u32],
        weights: &Arc<Vec<f32>>,
        own: &OwnValues,
    ) -> Result<OwnValues> {
        let check = self.update_check()?;
        let phase = self.context.experiment.strategy.rules.term.fine_tuning(epochs, self.clients.layout()?);
        let job = |&client: &u32| -> Result<Job> {
            let mut job = Job {
                weights: Some(Arc::clone(weights)),
                only_scores: true,
                ..self.job(&Flight::untimed(client, round), &[])?
            };
            if let Request::Train(train) = &mut job.request {
                (train.phases, train.transforms, train.score_start) = (vec![phase.clone()], Vec::new(), None);
            }
            Ok(job)
        };
        let has_examples = |client: &&u32| self.clients.held_out[**client as usize] > 0;
        let jobs: Vec<Job> = clients.iter().filter(has_examples).map(job).collect::<Result<_>>()?;
        let Self { clients: Clients { fleet, .. }, state, journal, .. } = self;
        let mut scoring = Scoring { own, state, journal };
        let mut by_client = BTreeMap::new();
        let batch = JobBatch::submit(fleet, jobs, &check);
        while let Some((_, SettledJob { job, settled, .. })) = batch.next(fleet, round, &mut scoring)? {
            if let (Some(client), Ok((Reply::Update(_), mut parts))) = (job.client, settled) {
                by_client.extend(parts.take_f32(WEIGHTS).map(|tuned| (client, Arc::new(tuned))));
            }
        }
        Ok(OwnValues::whole(by_client, weights.len()))
    }
}
