//! The queue of a fleet: the jobs that wait for a process, those that a process does, and those that have settled.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::fleet::job::{Check, Job, Settled};

/// The number of a job, in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(u64);

/// A job with its result.
#[derive(Debug)]
pub(crate) struct SettledJob {
    pub(crate) id: JobId,
    pub(crate) job: Arc<Job>,
    pub(crate) settled: Settled,
}

/// The jobs of a fleet. Jobs may be submitted while others are done.
pub(crate) struct JobQueue {
    submitted: u64,
    /// The jobs that have not settled.
    open: BTreeMap<JobId, OpenJob>,
    /// The jobs that wait, by slot.
    waiting: Vec<VecDeque<JobId>>,
    /// The job that the process does, by slot.
    working: Vec<Option<Work>>,
    /// The jobs that have settled and were not taken, the first one first.
    settled: VecDeque<SettledJob>,
}

/// A job that has not settled.
pub(crate) struct OpenJob {
    pub(crate) job: Arc<Job>,
    pub(crate) check: Arc<Check>,
    /// The failed attempts.
    pub(crate) attempts: u32,
    /// The submitter has completed the job.
    pub(crate) is_prepared: bool,
}

/// A job that a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) job: JobId,
    /// The process has computed the job and sends the reply, so that another process can compute. The field stays
    /// `false` if the process will do its next job on the same core at once.
    pub(crate) replying: bool,
}

impl JobQueue {
    pub(crate) fn new(slots: usize) -> Self {
        let (waiting, working) = (vec![VecDeque::new(); slots], vec![None; slots]);
        Self { submitted: 0, open: BTreeMap::new(), waiting, working, settled: VecDeque::new() }
    }

    /// Adds a job to the end of its slot's queue.
    pub(crate) fn submit(&mut self, job: Job, check: &Arc<Check>) -> JobId {
        let id = JobId(self.submitted);
        self.submitted += 1;
        self.waiting[job.slot].push_back(id);
        let (job, check) = (Arc::new(job), Arc::clone(check));
        self.open.insert(id, OpenJob { job, check, attempts: 0, is_prepared: false });
        id
    }

    /// Returns `true` if every job has settled and was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.settled.is_empty()
    }

    /// Removes all jobs, and returns the slots whose processes do one.
    pub(crate) fn clear(&mut self) -> Vec<usize> {
        self.open.clear();
        self.settled.clear();
        self.waiting.iter_mut().for_each(VecDeque::clear);
        (0..self.working.len()).filter(|&slot| self.working[slot].take().is_some()).collect()
    }

    /// Returns a job that has not settled.
    pub(crate) fn open(&mut self, id: JobId) -> Option<&mut OpenJob> {
        self.open.get_mut(&id)
    }

    /// Takes the first waiting job of `slot`.
    pub(crate) fn pop(&mut self, slot: usize) -> Option<JobId> {
        self.waiting[slot].pop_front()
    }

    /// Puts a job in front of the others of `slot`.
    pub(crate) fn push_front(&mut self, slot: usize, id: JobId) {
        self.waiting[slot].push_front(id);
    }

    /// Puts a job behind the others of `slot`.
    pub(crate) fn push_back(&mut self, slot: usize, id: JobId) {
        self.waiting[slot].push_back(id);
    }

    /// Returns the work of the process in `slot`.
    pub(crate) fn work(&self, slot: usize) -> Option<Work> {
        self.working[slot]
    }

    /// Notes that the process of `slot` does a job.
    pub(crate) fn begin(&mut self, slot: usize, job: JobId) {
        self.working[slot] = Some(Work { job, replying: false });
    }

    /// Notes that the process of `slot` has computed its job.
    pub(crate) fn begin_reply(&mut self, slot: usize) {
        self.working[slot].iter_mut().for_each(|work| work.replying = true);
    }

    /// Takes the work of the process in `slot`.
    pub(crate) fn end(&mut self, slot: usize) -> Option<JobId> {
        self.working[slot].take().map(|work| work.job)
    }

    /// Settles a job, and returns it.
    pub(crate) fn settle(&mut self, id: JobId, settled: Settled) -> Option<&Job> {
        let OpenJob { job, .. } = self.open.remove(&id)?;
        self.settled.push_back(SettledJob { id, job, settled });
        self.settled.back().map(|settled| &*settled.job)
    }

    /// Takes the job that settled first.
    pub(crate) fn take_settled(&mut self) -> Option<SettledJob> {
        self.settled.pop_front()
    }

    /// Returns `true` if the process of `slot` computes, or continues at once.
    pub(crate) fn computes(&self, slot: usize) -> bool {
        self.working[slot].is_some_and(|work| !work.replying)
    }

    /// Returns the number of processes that compute.
    pub(crate) fn busy(&self) -> usize {
        (0..self.working.len()).filter(|&slot| self.computes(slot)).count()
    }

    /// Returns `true` if at least `cores` processes have work, counting `slot`, and at least `cores` + `taken` jobs
    /// wait.
    pub(crate) fn fills(&self, cores: usize, slot: usize, taken: usize) -> bool {
        let waiting: usize = self.waiting.iter().map(VecDeque::len).sum();
        let can = |&other: &usize| other == slot || self.computes(other) || !self.waiting[other].is_empty();
        waiting >= cores + taken && (0..self.waiting.len()).filter(can).count() >= cores
    }

    /// Returns the idle slots that have jobs. Slots with a ready process come first, and then those with more jobs,
    /// since a round waits for its longest queue. The jobs of a slot count twice if its process was the last on a
    /// core, whose caches still have its model.
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
    use fedpipe_protocol::{Parts, Reply, Request};

    use super::*;

    /// Returns a queue with a job for each of these slots.
    fn queue(slots: usize, jobs: &[usize]) -> JobQueue {
        let check: Arc<Check> = Arc::new(|_: &Job, _: &Reply, _: &mut Parts, _: usize| Ok(()));
        let mut queue = JobQueue::new(slots);
        for &slot in jobs {
            let job = Job {
                slot,
                client: None,
                request: Request::GetWeights,
                weights: None,
                parts: Vec::new(),
                only_scores: false,
            };
            queue.submit(job, &check);
        }
        queue
    }

    fn begin(queue: &mut JobQueue, slot: usize) -> JobId {
        let job = queue.pop(slot).unwrap();
        queue.begin(slot, job);
        job
    }

    fn replied() -> Settled {
        Ok((Reply::Weights, Parts::default()))
    }

    #[test]
    fn ready_processes_and_long_queues_are_first_and_a_cached_queue_counts_twice() {
        let mut queue = queue(6, &[0, 1, 2, 2, 3, 3, 3, 5]);
        let none = |_| false;
        assert_eq!(queue.idle(|_| true, none), [3, 2, 0, 1, 5]);
        assert_eq!(queue.idle(|slot| slot == 1 || slot == 2, none), [2, 1, 3, 0, 5]);
        // Of 1, 1, 2, 3 and 1 jobs.
        assert_eq!(queue.idle(|slot| slot != 0, |slot| slot < 2), [3, 1, 2, 5, 0]);
        assert!(queue.fills(5, 0, 3) && queue.fills(6, 4, 2), "8 jobs wait, for 5 and one that has none");
        assert!(!queue.fills(6, 0, 0), "only 5 have work");
        assert!(!queue.fills(5, 0, 4), "and 4 jobs besides");
        begin(&mut queue, 3);
        queue.pop(2);
        assert_eq!(queue.idle(|_| true, none), [0, 1, 2, 5]);
    }

    #[test]
    fn a_process_is_next_unless_a_queue_is_more_than_twice_as_long() {
        let mut queue = queue(3, &[0, 0, 1, 1, 1, 1, 1, 2]);
        [0, 2].iter().for_each(|&slot| {
            begin(&mut queue, slot);
        });
        assert!(!queue.is_next(0, |_| true), "1 job, and 5");
        assert!(queue.is_next(0, |slot| slot != 1), "the 5 cannot be done yet");
        (0..3).for_each(|_| {
            queue.pop(1);
        });
        assert!(queue.is_next(0, |_| true), "1 job, and 2");
        assert!(!queue.is_next(2, |_| false), "none");
    }

    #[test]
    fn a_process_that_replies_leaves_its_core_to_another() {
        let mut queue = queue(3, &[0, 2]);
        begin(&mut queue, 0);
        begin(&mut queue, 2);
        queue.begin_reply(0);
        assert_eq!([0, 1, 2].map(|slot| queue.computes(slot)), [false, false, true]);
        assert_eq!(queue.busy(), 1);
    }

    #[test]
    fn jobs_are_taken_in_the_order_in_which_they_settle() {
        let mut queue = queue(3, &[0, 1, 2]);
        let [first, second, third] = [0, 1, 2].map(|slot| begin(&mut queue, slot));
        assert!(first < second && second < third);
        for (slot, id) in [(2, third), (0, first)] {
            assert_eq!(queue.end(slot), Some(id));
            assert_eq!(queue.settle(id, replied()).map(|job| job.slot), Some(slot));
        }
        let taken: Vec<JobId> = std::iter::from_fn(|| queue.take_settled()).map(|settled| settled.id).collect();
        assert_eq!(taken, [third, first]);
        assert!(!queue.is_empty(), "a process does the second");
    }

    #[test]
    fn a_queue_that_was_cleared_has_no_job_and_gives_no_number_twice() {
        let mut queue = queue(3, &[0, 1, 1, 2]);
        let last = begin(&mut queue, 2);
        let first = begin(&mut queue, 0);
        queue.end(0);
        queue.settle(first, replied());
        assert_eq!(queue.clear(), [2], "the slot of the process that does a job");
        assert!(queue.is_empty() && queue.take_settled().is_none() && queue.idle(|_| true, |_| false).is_empty());
        assert_eq!((queue.busy(), queue.settle(last, replied()).is_none()), (0, true));
        let job = Job {
            slot: 0,
            client: None,
            request: Request::GetWeights,
            weights: None,
            parts: Vec::new(),
            only_scores: false,
        };
        let check: Arc<Check> = Arc::new(|_: &Job, _: &Reply, _: &mut Parts, _: usize| Ok(()));
        assert!(queue.submit(job, &check) > last);
    }
}
