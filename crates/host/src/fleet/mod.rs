//! All client processes of a run: starts them, assigns the jobs and takes the replies.

pub(crate) mod control;
pub(crate) mod cores;
mod crashes;
pub(crate) mod describe;
mod inbox;
pub(crate) mod job;
mod job_dispatch;
pub(crate) mod job_queue;
mod readiness;
mod swap;

use std::sync::Arc;

use fedpipe_protocol::{InForce, Layout, Ready, Reply, Setup};
use fedpipe_record::{cause::Cause, experiment::OnFailure};

use crate::{
    error::Result,
    fleet::{
        control::StopSign,
        cores::Cores,
        inbox::Inbox,
        job::{Check, Incident, Job, Submitter},
        job_dispatch::Dispatched,
        job_queue::{JobId, JobQueue, SettledJob, Work},
        swap::Installed,
    },
    process::{
        conversation::{ClientProcess, Environment, NO_REQUEST, ProcessReport},
        stray::end_strays,
    },
};

/// The processes of a run.
pub(crate) struct Fleet {
    environment: Environment,
    inbox: Inbox,
    slots: Vec<ProcessSlot>,
    queue: JobQueue,
    /// The number of processes that work at the same time.
    at_once: usize,
    /// The cores of those processes.
    cores: Cores,
    policy: OnFailure,
    /// The first process's description of its model, which the others must equal. The isolation, the features and the
    /// numbers of examples are left out, since they belong to the slots.
    model: Option<Ready>,
    /// The features that each process must have.
    needed: Vec<NeededFeature>,
    /// The layout of that model; none if the processes only describe it.
    layout: Option<Layout>,
    /// Isolation reports that [`Fleet::take_confined`] has not returned yet.
    confined: Vec<Confined>,
    generation: u64,
    /// The dylib before a reload, until a round succeeded with the new one.
    before: Option<Installed>,
}

/// The isolation that a process reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confined {
    /// The process; none if the report holds for all processes, as it does on this machine.
    pub(crate) process: Option<u32>,
    pub(crate) in_force: InForce,
}

/// A feature that each client must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededFeature {
    pub(crate) name: String,
    /// The thing that needs the feature, in a sentence.
    pub(crate) by: &'static str,
}

struct ProcessSlot {
    setup: Setup,
    /// The features that the last ready process listed.
    features: Vec<String>,
    /// The isolation that the last ready process reported.
    in_force: Option<InForce>,
    process: Option<ClientProcess>,
    /// The process has reported that it is ready.
    ready: bool,
    /// The training examples of each partition, as the first ready process reported them.
    examples: Option<Vec<u64>>,
    /// The held-out examples of each partition, likewise; empty if there are none.
    held_out: Vec<u64>,
    /// A process of this slot was ready once, so that it can load the model and the data.
    proven: bool,
}

impl Fleet {
    /// Starts a fleet with one process for each of `setups`; `stop` ends its work.
    ///
    /// # Errors
    /// Returns [`Error::System`] for a process that cannot be started.
    pub(crate) fn start(
        environment: Environment,
        stop: &Arc<StopSign>,
        setups: Vec<Setup>,
        at_once: usize,
        policy: OnFailure,
    ) -> Result<Self> {
        let slot = |setup| ProcessSlot {
            setup,
            features: Vec::new(),
            in_force: None,
            process: None,
            ready: false,
            examples: None,
            held_out: Vec::new(),
            proven: false,
        };
        let slots: Vec<ProcessSlot> = setups.into_iter().map(slot).collect();
        let at_once = at_once.min(slots.len());
        let queue = JobQueue::new(slots.len());
        let cores = if environment.spawner.is_elsewhere() { Cores::none() } else { Cores::of_machine(at_once) };
        let mut fleet = Self {
            environment,
            inbox: Inbox::new(stop),
            slots,
            queue,
            at_once,
            cores,
            policy,
            model: None,
            needed: Vec::new(),
            layout: None,
            confined: Vec::new(),
            generation: 0,
            before: None,
        };
        (0..fleet.slots.len()).try_for_each(|slot| fleet.start_process(slot))?;
        Ok(fleet)
    }

    /// Returns the number of processes.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of processes that work at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once
    }

    /// Returns the description of the model, without isolation, features and examples.
    ///
    /// # Errors
    /// [`Error::System`] before a process is ready.
    pub(crate) fn model(&self) -> Result<&Ready> {
        self.model.as_ref().ok_or_else(|| anyhow::anyhow!("no client has described its model").into())
    }

    /// Returns the layout of the model's weights.
    ///
    /// # Errors
    /// As for [`Fleet::model`].
    pub(crate) fn layout(&self) -> Result<&Layout> {
        self.layout.as_ref().ok_or_else(|| anyhow::anyhow!("no client has described its model").into())
    }

    /// Returns the isolation that the last ready process of `slot` reported.
    pub(crate) fn in_force(&self, slot: usize) -> Option<&InForce> {
        self.slots.get(slot)?.in_force.as_ref()
    }

    /// Returns the features that the last ready process of `slot` listed.
    pub(crate) fn features(&self, slot: usize) -> &[String] {
        self.slots.get(slot).map_or(&[], |slot| &slot.features)
    }

    /// Returns the held-out examples of each partition of `slot`, as its first ready process reported them.
    pub(crate) fn reported_held_out(&self, slot: usize) -> &[u64] {
        self.slots.get(slot).map_or(&[], |slot| &slot.held_out)
    }

    /// Takes the reports of isolation since the last call. There is one for all processes of this machine. Elsewhere,
    /// each slot has a report when its isolation is first known and whenever it changes.
    pub(crate) fn take_confined(&mut self) -> Vec<Confined> {
        std::mem::take(&mut self.confined)
    }

    /// Submits a job, whose reply `check` checks. The jobs of a process are done in the order of submission, unless one
    /// is moved to it.
    pub(crate) fn submit(&mut self, job: Job, check: &Arc<Check>) -> JobId {
        if self.queue.is_empty() {
            // The caches may have other data by now.
            self.cores.clear();
        }
        self.queue.submit(job, check)
    }

    /// Waits for a job to settle and returns it; none if all jobs were returned. A crash is recorded for `round`. After
    /// an error the fleet has no jobs.
    ///
    /// # Errors
    /// A model that cannot be loaded, [`Error::Stopped`], [`Error::Round`] after an exit under the policy `abort`, and
    /// those of `submitter`.
    pub(crate) fn next_settled(
        &mut self,
        round: Option<u64>,
        submitter: &mut dyn Submitter,
    ) -> Result<Option<SettledJob>> {
        let settled = self.work_until_settled(round, submitter);
        if settled.is_err() {
            self.discard_jobs();
        }
        settled
    }

    fn work_until_settled(&mut self, round: Option<u64>, submitter: &mut dyn Submitter) -> Result<Option<SettledJob>> {
        loop {
            while self.dispatch(round, submitter)? == Dispatched::InPart {}
            if let Some(settled) = self.queue.take_settled() {
                return Ok(Some(settled));
            }
            if self.queue.is_empty() {
                return Ok(None);
            }
            self.handle_report(round, submitter)?;
        }
    }

    /// Discards all jobs. A process that does one is ended, since its reply would be taken for that of another job.
    pub(crate) fn discard_jobs(&mut self) {
        let working = self.queue.clear();
        // All of them exit at the same time: dropping one waits for its exit.
        for &slot in &working {
            self.slots[slot].process.iter_mut().for_each(ClientProcess::dismiss);
        }
        for slot in working {
            self.slots[slot].process = None;
            self.slots[slot].ready = false;
        }
    }

    /// Waits for the next report of a process and handles it.
    fn handle_report(&mut self, round: Option<u64>, submitter: &mut dyn Submitter) -> Result<()> {
        let (id, report) = self.inbox.next()?;
        let slot = id.slot;
        // A process that was replaced may have reported before its end.
        if self.slots[slot].process.as_ref().map(|process| process.id) != Some(id) {
            return Ok(());
        }
        let handled = match (report, self.queue.work(slot)) {
            (ProcessReport::Exited(exit), _) => return self.handle_exit(slot, exit, round, submitter),
            (ProcessReport::Replied(Reply::Ready(ready), ..), None) if !self.slots[slot].ready => {
                // A process whose report is refused was never ready. Its exit is a failed attempt of its first job.
                self.check_ready(slot, ready).map(|()| (self.slots[slot].ready, self.slots[slot].proven) = (true, true))
            }
            (ProcessReport::ReplyBegun, _) => {
                self.note_reply(slot);
                Ok(())
            }
            (ProcessReport::Replied(..), None) => Err(Cause::protocol(NO_REQUEST)),
            (ProcessReport::Replied(_, _, Err(refused)), Some(_)) => Err(refused),
            (ProcessReport::Replied(reply, parts, Ok(())), Some(Work { job, .. })) => {
                self.queue.end(slot);
                if let Some(job) = self.queue.settle(job, Ok((reply, parts))) {
                    submitter.on_incident(Incident::Done(job))?;
                }
                Ok(())
            }
        };
        match handled {
            Ok(()) => Ok(()),
            Err(cause) => {
                let exit = self.end_refused(slot, cause);
                self.handle_exit(slot, exit, round, submitter)
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // All processes exit at the same time: dropping a slot waits for one.
        self.slots.iter_mut().filter_map(|slot| slot.process.as_mut()).for_each(ClientProcess::dismiss);
        self.slots.clear();
        end_strays(&|mark| mark.starts_with(&self.environment.mark));
    }
}

#[cfg(test)]
mod tests;
