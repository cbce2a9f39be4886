//! The number of client processes, and of those that compute at the same time.

use std::thread::available_parallelism;

use fedpipe_record::experiment::Experiment;

/// The number of clients above which several share a process by default.
const MAX_PROCESSES: u32 = 64;

/// Returns the number of client processes of the run.
pub fn process_count(experiment: &Experiment) -> u32 {
    let pooled = match job_count(experiment) {
        1 => 1,
        jobs => jobs.saturating_mul(processes_a_job(experiment)),
    };
    let clients = experiment.clients.count;
    let usual = if clients <= MAX_PROCESSES { clients } else { pooled };
    experiment.execution.processes.unwrap_or(usual).min(clients)
}

/// Returns the number of processes over which the work of one core is spread.
///
/// Two processes spread the work more evenly. With one for each of two cores, one process has six of ten sampled
/// clients on average, and the other core waits. A second interpreter of a user's program would cost more than it
/// gains.
pub(crate) fn processes_a_job(experiment: &Experiment) -> u32 {
    if experiment.client.is_none() { 2 } else { 1 }
}

/// Returns the number of clients that train at the same time.
pub(crate) fn job_count(experiment: &Experiment) -> u32 {
    let cores = || available_parallelism().map_or(1, |n| n.get() as u32);
    experiment.execution.jobs.unwrap_or_else(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_processes_above_64_clients() {
        let count = |change: fn(&mut Experiment)| {
            let mut many = Experiment::default();
            (many.clients.count, many.execution.jobs) = (65, Some(3));
            change(&mut many);
            process_count(&many)
        };
        assert_eq!(count(|_| ()), 6);
        assert_eq!(count(|of| of.execution.jobs = Some(1)), 1);
        assert_eq!(count(|of| of.execution.jobs = Some(u32::MAX)), 65);
        assert_eq!(count(|of| of.client = Some("true".into())), 3);
        assert_eq!(count(|of| of.clients.count = 64), 64);
        assert_eq!(count(|of| of.execution.processes = Some(100)), 65);
    }
}
