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
    let usual = if experiment.clients <= MAX_PROCESSES { experiment.clients } else { pooled };
    experiment.processes.unwrap_or(usual).min(experiment.clients)
}

/// Returns the number of processes over which the work of one core is spread.
///
/// Two processes spread the work more evenly: with one for each of two cores, one process has six of ten sampled
/// clients on average, and the other core waits. A second interpreter of a user's program would cost more than that.
pub(crate) fn processes_a_job(experiment: &Experiment) -> u32 {
    if experiment.client.is_none() { 2 } else { 1 }
}

/// Returns the number of clients that train at the same time.
pub(crate) fn job_count(experiment: &Experiment) -> u32 {
    let cores = || available_parallelism().map_or(1, |n| n.get() as u32);
    experiment.jobs.unwrap_or_else(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_processes_above_64_clients() {
        let many = Experiment { clients: 65, jobs: Some(3), ..Experiment::default() };
        assert_eq!(process_count(&many), 6);
        assert_eq!(process_count(&Experiment { jobs: Some(1), ..many.clone() }), 1);
        assert_eq!(process_count(&Experiment { jobs: Some(u32::MAX), ..many.clone() }), 65);
        assert_eq!(process_count(&Experiment { client: Some("true".into()), ..many.clone() }), 3);
        assert_eq!(process_count(&Experiment { clients: 64, ..many.clone() }), 64);
        assert_eq!(process_count(&Experiment { processes: Some(100), ..many }), 65);
    }
}
