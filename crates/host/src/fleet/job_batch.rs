//! The jobs of one call of [`Fleet::do_jobs`](crate::fleet::Fleet::do_jobs), and the progress of each job.

use std::{cmp::Reverse, collections::VecDeque};

use crate::fleet::{Job, Settled};

/// Jobs that are done together.
pub(crate) struct JobBatch {
    pub(crate) jobs: Vec<Job>,
    /// The results, by job.
    pub(crate) settled: Vec<Option<Settled>>,
    /// The failed attempts, by job.
    pub(crate) attempts: Vec<u32>,
    /// The jobs that wait, by slot.
    pub(crate) waiting: Vec<VecDeque<usize>>,
    /// The job that the process does, by slot.
    pub(crate) working: Vec<Option<Work>>,
    pub(crate) round: Option<u64>,
}

/// A job that a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) job: usize,
    /// The process has computed the job and sends the reply, so that another process can compute. It stays `false` for
    /// a process that continues on its core.
    pub(crate) replying: bool,
}

impl JobBatch {
    pub(crate) fn new(jobs: Vec<Job>, slots: usize, round: Option<u64>) -> Self {
        let mut waiting = vec![VecDeque::new(); slots];
        jobs.iter().enumerate().for_each(|(index, job)| waiting[job.slot].push_back(index));
        let settled = jobs.iter().map(|_| None).collect();
        let attempts = vec![0; jobs.len()];
        Self { jobs, settled, attempts, waiting, working: vec![None; slots], round }
    }

    /// Returns `true` if the process of `slot` computes, or continues at once.
    pub(crate) fn computes(&self, slot: usize) -> bool {
        self.working[slot].is_some_and(|work| !work.replying)
    }

    /// Returns the number of processes that compute.
    pub(crate) fn busy(&self) -> usize {
        (0..self.working.len()).filter(|&slot| self.computes(slot)).count()
    }

    /// Returns `true` if there is work for so many `cores`, one of which is that of `slot`. So many processes must have
    /// work, `slot` included, and so many jobs must wait, `taken` not included.
    pub(crate) fn fills(&self, cores: usize, slot: usize, taken: usize) -> bool {
        let waiting: usize = self.waiting.iter().map(VecDeque::len).sum();
        let can = |&other: &usize| other == slot || self.computes(other) || !self.waiting[other].is_empty();
        waiting >= cores + taken && (0..self.waiting.len()).filter(can).count() >= cores
    }

    /// Returns the idle slots that have jobs. Slots with a ready process come first, and then those with more jobs,
    /// since the batch waits for its longest queue. The jobs of a slot count twice if its process ran last on a core.
    pub(crate) fn idle(&self, is_ready: impl Fn(usize) -> bool, is_cached: impl Fn(usize) -> bool) -> Vec<usize> {
        let idle = |&slot: &usize| self.working[slot].is_none() && !self.waiting[slot].is_empty();
        let mut slots: Vec<usize> = (0..self.waiting.len()).filter(idle).collect();
        let weight = |slot: usize| self.waiting[slot].len() * if is_cached(slot) { 2 } else { 1 };
        slots.sort_by_key(|&slot| (!is_ready(slot), Reverse(weight(slot)), !is_cached(slot)));
        slots
    }

    /// Returns `true` if the process of `slot` would be the next to compute on the core that has its model in the
    /// caches.
    pub(crate) fn is_next(&self, slot: usize, is_ready: impl Fn(usize) -> bool) -> bool {
        let own = 2 * self.waiting[slot].len();
        let first = self.idle(&is_ready, |_| false).first().copied().filter(|&slot| is_ready(slot));
        own > 0 && first.is_none_or(|other| self.waiting[other].len() <= own)
    }
}

#[cfg(test)]
mod tests {
    use fedpipe_protocol::Request;

    use super::*;

    #[test]
    fn ready_processes_and_long_queues_are_first_and_a_cached_queue_counts_twice() {
        let job = |slot| Job { slot, client: None, request: Request::GetWeights, weights: None, parts: Vec::new() };
        let mut batch = JobBatch::new([0, 1, 2, 2, 3, 3, 3, 5].map(job).into(), 6, None);
        let none = |_| false;
        assert_eq!(batch.idle(|_| true, none), [3, 2, 0, 1, 5]);
        assert_eq!(batch.idle(|slot| slot == 1 || slot == 2, none), [2, 1, 3, 0, 5]);
        // Of 1, 1, 2, 3 and 1 jobs.
        assert_eq!(batch.idle(|slot| slot != 0, |slot| slot < 2), [3, 1, 2, 5, 0]);
        assert!(batch.fills(5, 0, 3) && batch.fills(6, 4, 2), "8 jobs wait, for 5 and one that has none");
        assert!(!batch.fills(6, 0, 0), "only 5 have work");
        assert!(!batch.fills(5, 0, 4), "and 4 jobs besides");
        batch.working[3] = Some(Work { job: 4, replying: false });
        batch.waiting[2].pop_front();
        assert_eq!(batch.idle(|_| true, none), [0, 1, 2, 5]);
    }

    #[test]
    fn a_process_is_next_unless_a_queue_is_more_than_twice_as_long() {
        let job = |slot| Job { slot, client: None, request: Request::GetWeights, weights: None, parts: Vec::new() };
        let mut batch = JobBatch::new([0, 0, 1, 1, 1, 1, 1, 2].map(job).into(), 3, None);
        for slot in [0, 2] {
            let job = batch.waiting[slot].pop_front().unwrap();
            batch.working[slot] = Some(Work { job, replying: false });
        }
        assert!(!batch.is_next(0, |_| true), "1 job, and 5");
        assert!(batch.is_next(0, |slot| slot != 1), "the 5 cannot be done yet");
        batch.waiting[1].truncate(2);
        assert!(batch.is_next(0, |_| true), "1 job, and 2");
        assert!(!batch.is_next(2, |_| false), "none");
    }

    #[test]
    fn a_process_that_replies_leaves_its_core_to_another() {
        let mut batch = JobBatch::new(Vec::new(), 3, None);
        batch.working = vec![Some(Work { job: 0, replying: true }), None, Some(Work { job: 1, replying: false })];
        assert_eq!([0, 1, 2].map(|slot| batch.computes(slot)), [false, false, true]);
        assert_eq!(batch.busy(), 1);
    }
}
