//! A batch of jobs, submitted at once and awaited together. Results are taken as they arrive and used in the order of
//! the jobs, so that no sum depends on the order of arrival.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    error::Result,
    fleet::{
        Fleet,
        job::{Check, Job, Submitter},
        job_queue::{JobId, SettledJob},
    },
};

/// The jobs of a batch.
#[derive(Debug)]
pub(in crate::run) struct JobBatch {
    /// The numbers of the jobs, which ascend.
    jobs: Vec<JobId>,
}

impl JobBatch {
    /// Submits the jobs.
    pub(in crate::run) fn submit(fleet: &mut Fleet, jobs: impl IntoIterator<Item = Job>, check: &Arc<Check>) -> Self {
        Self { jobs: jobs.into_iter().map(|job| fleet.submit(job, check)).collect() }
    }

    /// Waits for a job to settle. Returns its index among the jobs and its result; none once all jobs have settled. The
    /// result of any other job is dropped.
    ///
    /// # Errors
    /// Returns the errors of [`Fleet::next_settled`].
    pub(in crate::run) fn next(
        &self,
        fleet: &mut Fleet,
        round: u64,
        submitter: &mut dyn Submitter,
    ) -> Result<Option<(usize, SettledJob)>> {
        // Round 0 scores the initial weights.
        let begun = (round > 0).then_some(round);
        while let Some(settled) = fleet.next_settled(begun, submitter)? {
            if let Ok(index) = self.jobs.binary_search(&settled.id) {
                return Ok(Some((index, settled)));
            }
        }
        Ok(None)
    }
}

/// Values that arrive in any order and are used in the order of their indices.
#[derive(Debug)]
pub(in crate::run) struct InOrder<T> {
    /// The index of the next value that is used.
    next: usize,
    /// The values that wait for one before them.
    early: BTreeMap<usize, T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { next: 0, early: BTreeMap::new() }
    }
}

impl<T> InOrder<T> {
    /// Takes the value with this index, and returns the values that no longer wait for another, in order.
    pub(in crate::run) fn arrive(&mut self, index: usize, value: T) -> Vec<T> {
        self.early.insert(index, value);
        let due = std::iter::from_fn(|| {
            let value = self.early.remove(&self.next)?;
            self.next += 1;
            Some(value)
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_early_waits_for_those_before_it() {
        let mut values = InOrder::default();
        let due = [(1, 'b'), (3, 'd'), (0, 'a'), (2, 'c'), (4, 'e')].map(|(index, value)| values.arrive(index, value));
        assert_eq!(due.map(String::from_iter), ["", "", "ab", "cd", "e"]);
    }
}
