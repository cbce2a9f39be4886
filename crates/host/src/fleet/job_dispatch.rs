//! The assignment of jobs to processes: who works next, on which cores, and with which request.

use std::sync::Arc;

use fedpipe_protocol::{Layout, Request, Train};
use fedpipe_strategy::transform::chain::Transforms;
use nix::sched::CpuSet;

use crate::{
    error::Result,
    fleet::{Fleet, job::Submitter, job_queue::JobId},
    process::{
        conversation::{Assignment, ClientProcess, ProcessId, ReplyCheck},
        end::ProcessExit,
    },
};

/// The progress of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dispatched {
    /// Every process that can work has work.
    Fully,
    /// A process could not be started, so that the dispatch must be repeated.
    InPart,
}

impl Fleet {
    /// Assigns jobs to idle processes, as far as `at_once` allows.
    pub(super) fn dispatch(&mut self, round: Option<u64>, submitter: &mut dyn Submitter) -> Result<Dispatched> {
        // A process that is still starting counts as well, since it takes its job as soon as it is ready.
        let places = self.at_once.saturating_sub(self.queue.busy());
        let idle = self.queue.idle(|slot| self.slots[slot].ready, |slot| self.cores.caches(slot));
        for slot in idle.into_iter().take(places) {
            if self.slots[slot].process.is_none()
                && let Err(error) = self.start_process(slot)
            {
                // Its job may move to a process that this loop has passed.
                self.handle_exit(slot, ProcessExit::at_start(&error), round, submitter)?;
                return Ok(Dispatched::InPart);
            }
            // An idle process that exited has no job yet. The report of its exit comes next, and the process is
            // replaced.
            if !self.slots[slot].ready || self.slots[slot].process.as_ref().is_some_and(ClientProcess::has_exited) {
                continue;
            }
            if let Some(id) = self.queue.pop(slot) {
                self.assign(slot, id, submitter)?;
            }
        }
        Ok(Dispatched::Fully)
    }

    fn assign(&mut self, slot: usize, id: JobId, submitter: &mut dyn Submitter) -> Result<()> {
        let cores = self.cores_for(slot);
        let Some(open) = self.queue.open(id) else { return Ok(()) };
        if !std::mem::replace(&mut open.is_prepared, true) {
            let job =
                Arc::get_mut(&mut open.job).ok_or_else(|| anyhow::anyhow!("a job was shared before it was sent"))?;
            submitter.prepare(job)?;
        }
        let weight_count = self.layout.as_ref().map_or(0, Layout::weight_count);
        let classes = self.slots[slot].setup.classes();
        let reply_payload = self.layout.as_ref().map_or(0, |layout| reply_payload(&open.job.request, layout, classes));
        let job = Arc::clone(&open.job);
        let check = Arc::clone(&open.check);
        let request = job.request.clone();
        let weights = job.weights.clone();
        let parts = job.parts.clone();
        let check = ReplyCheck::new(move |reply, parts| check(&job, reply, parts, weight_count));
        let assignment = Assignment { request, weights, parts, reply_payload, check, cores };
        self.queue.begin(slot, id);
        if let Some(process) = &self.slots[slot].process {
            process.assign(assignment);
        }
        Ok(())
    }

    /// Returns the cores for the next job of `slot`; none for a process that may have threads.
    fn cores_for(&mut self, slot: usize) -> Option<CpuSet> {
        if !self.in_force(slot).is_some_and(|in_force| in_force.seccomp && !in_force.threads) {
            return None;
        }
        if self.queue.fills(self.cores.count(), slot, 0) {
            return self.cores.take(slot, |slot| self.queue.computes(slot));
        }
        self.cores.release(slot);
        self.cores.all()
    }

    /// Notes that the process of `slot` has computed its job and sends the reply.
    ///
    /// A process that does its next job on the same core keeps that core. If another process took the core, it would
    /// evict this model from the caches, and would still compute when this process begins its next job.
    pub(super) fn note_reply(&mut self, slot: usize) {
        let continues = self.cores.caches(slot)
            && self.queue.fills(self.cores.count(), slot, 1)
            && self.queue.is_next(slot, |slot| self.slots[slot].ready);
        if !continues {
            self.queue.begin_reply(slot);
        }
    }

    /// Starts the process of a slot and sends its setup.
    pub(super) fn start_process(&mut self, index: usize) -> Result<()> {
        self.generation += 1;
        let id = ProcessId { slot: index, generation: self.generation };
        let setup = &self.slots[index].setup;
        let process = ClientProcess::start(&self.environment, id, setup, self.inbox.reporter(id));
        let process = process.map_err(|error| {
            let fewer = if error.is_of_number() { ", or lower --processes" } else { "" };
            anyhow::anyhow!("cannot start client process {index}: {error}{fewer}")
        })?;
        let request = Request::Setup(setup.clone());
        process.assign(Assignment {
            request,
            weights: None,
            parts: Vec::new(),
            reply_payload: 0,
            check: ReplyCheck::none(),
            cores: None,
        });
        let slot = &mut self.slots[index];
        slot.process = Some(process);
        slot.ready = false;
        Ok(())
    }
}

/// Returns the most bytes of the parts of a reply.
fn reply_payload(request: &Request, layout: &Layout, classes: u64) -> u64 {
    let encoded = match request {
        Request::Train(Train { transforms, .. }) if !transforms.is_empty() => {
            let residual = |of: &Transforms| if of.has_residual() { layout.payload() } else { 0 };
            Transforms::of_texts(transforms).map_or(0, |of| of.payload(layout.weight_count()) + residual(&of))
        }
        Request::Evaluate(evaluate) => evaluate.payload(classes),
        _ => 0,
    };
    request.reply_vectors() * layout.payload() + encoded
}
