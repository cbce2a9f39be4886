//! Jobs that are done together, and how far each is.

use std::{cmp::Reverse, collections::VecDeque};

use crate::fleet::{Job, Settled};

/// The jobs of one call of [`Fleet::run`](crate::fleet::Fleet::run).
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Job>,
    pub(crate) settled: Vec<Option<Settled>>,
    pub(crate) attempts: Vec<u32>,
    /// By slot: what waits, and what is being worked on.
    pub(crate) waiting: Vec<VecDeque<usize>>,
    pub(crate) working: Vec<Option<Work>>,
    pub(crate) round: Option<u64>,
}

/// A job in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) job: usize,
    /// The process has done it and the host reads the answer, so that its core is free for another's work.
    pub(crate) answering: bool,
}

impl Batch {
    pub(crate) fn new(jobs: Vec<Job>, slots: usize, round: Option<u64>) -> Self {
        let mut waiting = vec![VecDeque::new(); slots];
        jobs.iter().enumerate().for_each(|(index, job)| waiting[job.slot].push_back(index));
        let settled = jobs.iter().map(|_| None).collect();
        let attempts = vec![0; jobs.len()];
        Self { jobs, settled, attempts, waiting, working: vec![None; slots], round }
    }

    /// Whether the process of `slot` computes.
    pub(crate) fn computes(&self, slot: usize) -> bool {
        self.working[slot].is_some_and(|work| !work.answering)
    }

    /// How many processes compute.
    pub(crate) fn busy(&self) -> usize {
        (0..self.working.len()).filter(|&slot| self.computes(slot)).count()
    }

    /// The slots with work and none in hand: those that are ready before those that start, of each those that some core
    /// knows, and then the longest queues, since they would be what the rest of the batch waits for; else in order.
    pub(crate) fn idle(&self, is_ready: impl Fn(usize) -> bool, is_known: impl Fn(usize) -> bool) -> Vec<usize> {
        let idle = |&slot: &usize| self.working[slot].is_none() && !self.waiting[slot].is_empty();
        let mut slots: Vec<usize> = (0..self.waiting.len()).filter(idle).collect();
        slots.sort_by_key(|&slot| (!is_ready(slot), !is_known(slot), Reverse(self.waiting[slot].len())));
        slots
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Request;

    use super::*;

    #[test]
    fn the_ready_are_first_then_the_known_then_the_longest_queues() {
        let job = |slot| Job { slot, client: None, request: Request::GetWeights, weights: None, reply_payload: 0 };
        let mut batch = Batch::new([0, 1, 2, 2, 3, 3, 3, 5].map(job).into(), 6, None);
        let nobody = |_| false;
        assert_eq!(batch.idle(|_| true, nobody), [3, 2, 0, 1, 5]);
        assert_eq!(batch.idle(|slot| slot == 1 || slot == 2, nobody), [2, 1, 3, 0, 5]);
        assert_eq!(batch.idle(|slot| slot != 0, |slot| slot < 2), [1, 3, 2, 5, 0]);
        batch.working[3] = Some(Work { job: 4, answering: false });
        batch.waiting[2].pop_front();
        assert_eq!(batch.idle(|_| true, nobody), [0, 1, 2, 5]);
    }

    #[test]
    fn who_answers_leaves_its_core_to_another() {
        let mut batch = Batch::new(Vec::new(), 3, None);
        batch.working = vec![Some(Work { job: 0, answering: true }), None, Some(Work { job: 1, answering: false })];
        assert_eq!([0, 1, 2].map(|slot| batch.computes(slot)), [false, false, true]);
        assert_eq!(batch.busy(), 1);
    }
}
