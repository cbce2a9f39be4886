//! Jobs that are done together, and how far each is.

use std::collections::VecDeque;

use crate::fleet::{Job, Settled};

/// The jobs of one call of [`Fleet::run`](crate::fleet::Fleet::run).
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Job>,
    pub(crate) settled: Vec<Option<Settled>>,
    pub(crate) attempts: Vec<u32>,
    /// By slot: what waits, and what is being worked on.
    pub(crate) waiting: Vec<VecDeque<usize>>,
    pub(crate) working: Vec<Option<usize>>,
    pub(crate) round: Option<u64>,
}

impl Batch {
    pub(crate) fn new(jobs: Vec<Job>, slots: usize, round: Option<u64>) -> Self {
        let mut waiting = vec![VecDeque::new(); slots];
        jobs.iter().enumerate().for_each(|(index, job)| waiting[job.slot].push_back(index));
        let settled = jobs.iter().map(|_| None).collect();
        let attempts = vec![0; jobs.len()];
        Self { jobs, settled, attempts, waiting, working: vec![None; slots], round }
    }
}
