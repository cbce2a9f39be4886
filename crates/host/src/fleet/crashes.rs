//! The consequence of an exit: the job of the process is retried, moved to another process, or given up.

use fedpipe_data::DataError;
use fedpipe_protocol::{FailureKind, Level};
use fedpipe_record::{
    cause::{Cause, isolation_hint, with_last_words},
    crash::{ClientCrash, Consequence},
    experiment::OnFailure,
};

use crate::{
    error::{Error, Result},
    fleet::{
        Fleet,
        job::{Incident, Submitter},
        job_queue::JobId,
    },
    process::{end::ProcessExit, log::last_lines_of, stray::end_strays},
};

impl Fleet {
    /// Ends a process that runs, but whose reply is refused.
    pub(super) fn end_refused(&mut self, slot: usize, cause: Cause) -> ProcessExit {
        let log = self.environment.log(slot);
        let mut exit = ProcessExit { cause, greeted: true, ..ProcessExit::at_start(&"") };
        let mut log_start = 0;
        if let Some(process) = self.slots[slot].process.take() {
            exit.after = process.started.elapsed();
            log_start = process.log_start;
            let mark = self.environment.mark_of(process.id);
            // Once its thread has ended, the log has all output of the process.
            drop(process);
            end_strays(&|of| of == mark);
        }
        exit.last_words = last_lines_of(&log, log_start);
        exit.log = Some(log).filter(|log| log.exists());
        exit
    }

    /// Settles the exit of a process: reports it, and retries, moves or gives up the job that it costs.
    pub(super) fn handle_exit(
        &mut self,
        slot: usize,
        exit: ProcessExit,
        round: Option<u64>,
        submitter: &mut dyn Submitter,
    ) -> Result<()> {
        // Under `--over`, the process of this machine is a relay, and the limits of its client do not apply to it.
        let is_limited = !self.environment.spawner.is_elsewhere();
        let exit = if is_limited { exit.by_limit(&self.slots[slot].setup.isolation) } else { exit };
        // The process is dropped after the report, since its thread may still search for strays.
        let process = self.slots[slot].process.take();
        let was_ready = std::mem::take(&mut self.slots[slot].ready);
        self.cores.release(slot);
        if let Some(error) = self.startup_error(slot, &exit) {
            return Err(error);
        }
        // If the process ended before it was ready, its first waiting job counts as the failed one.
        let id = self.queue.end(slot);
        let id = id.or_else(|| if was_ready { None } else { self.queue.pop(slot) });
        let client = id.and_then(|id| self.queue.open(id)?.job.client);
        let then = match id {
            None => Consequence::Replaced,
            Some(id) => self.reassign(slot, id, client.is_none()),
        };
        let crash = ClientCrash { round, client, process: slot as u32, crash: exit.crash(then) };
        let sentence = crash.to_string();
        submitter.on_incident(Incident::Crashed(crash))?;
        drop(process);
        match (then, id) {
            (Consequence::Aborted | Consequence::Reverted, _) => Err(Error::Round(sentence)),
            (Consequence::Dropped | Consequence::Unscored, Some(id)) => {
                self.queue.settle(id, Err(exit));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns the error for an exit that would be repeated by every process of a slot that was never ready.
    fn startup_error(&self, slot: usize, exit: &ProcessExit) -> Option<Error> {
        if self.slots[slot].proven {
            return None;
        }
        let is_program = self.environment.launched.is_some();
        let level = self.slots[slot].setup.isolation.level;
        no_model(exit).or_else(|| if is_program { no_client(exit, level) } else { None })
    }

    /// Decides the consequence for the job that a process was doing or was about to do. Queues the job again if it is
    /// retried or moved. A training never moves, since the partition belongs to the process.
    fn reassign(&mut self, slot: usize, id: JobId, movable: bool) -> Consequence {
        let attempts = self.queue.open(id).map_or(0, |open| {
            open.attempts += 1;
            open.attempts
        });
        let is_score = self.queue.open(id).is_some_and(|open| open.job.only_scores);
        match self.policy {
            OnFailure::Abort => self.given_up(Consequence::Aborted),
            OnFailure::Retry if attempts == 1 => {
                self.queue.push_front(slot, id);
                Consequence::Retried
            }
            _ if movable && (attempts as usize) <= self.slots.len() => {
                let next = (slot + 1) % self.slots.len();
                self.queue.push_back(next, id);
                if next == slot { Consequence::Retried } else { Consequence::Moved }
            }
            _ => self.given_up(if is_score { Consequence::Unscored } else { Consequence::Dropped }),
        }
    }

    /// Returns `then`, or `Reverted` in the first round after a reload.
    fn given_up(&self, then: Consequence) -> Consequence {
        if self.before.is_some() { Consequence::Reverted } else { then }
    }
}

/// Returns the error for a failure that every process would repeat, since the model, the data or the system do not fit.
fn no_model(exit: &ProcessExit) -> Option<Error> {
    match &exit.cause {
        Cause::Reported { failure: FailureKind::Isolation, message } => Some(Error::Isolation(message.clone())),
        Cause::Reported { failure: FailureKind::Data, message } => Some(DataError::Reported(message.clone()).into()),
        Cause::Reported { message, .. } => Some(Error::Model(message.clone())),
        _ => None,
    }
}

/// Returns the error for a user's program that failed before its `hello`. Until then every process does the same, so
/// that each would repeat the failure. A signal or a deadline may come from outside, and is retried.
fn no_client(exit: &ProcessExit, level: Level) -> Option<Error> {
    let is_its_own = matches!(exit.cause, Cause::Exit { .. } | Cause::Protocol { .. });
    let what = format!("the client's program failed before its first message: {}", exit.cause);
    let hint = if level == Level::Off { "" } else { isolation_hint(&exit.cause, &exit.last_words) };
    (is_its_own && !exit.greeted).then(|| Error::Model(with_last_words(&what, &exit.last_words) + hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(cause: Cause) -> ProcessExit {
        ProcessExit { cause, ..ProcessExit::at_start(&"") }
    }

    #[test]
    fn a_failure_that_the_client_reports_ends_the_run_and_a_crash_does_not() {
        let reported = |failure| no_model(&exit(Cause::reported(failure, "why")));
        assert!(matches!(reported(FailureKind::Isolation), Some(Error::Isolation(_))));
        assert!(matches!(reported(FailureKind::Data), Some(Error::Data(_))));
        assert!(matches!(reported(FailureKind::OtherAbi), Some(Error::Model(_))));
        assert!(no_model(&exit(Cause::Exit { code: 1 })).is_none());
        assert!(no_model(&exit(Cause::Signal { number: 11 })).is_none());
    }

    #[test]
    fn a_program_that_exits_before_its_hello_ends_the_run() {
        let failed = exit(Cause::Exit { code: 126 });
        let message = no_client(&failed, Level::Auto).unwrap().to_string();
        assert!(
            message.starts_with("the client's program failed before its first message: it exited with code 126"),
            "{message}"
        );
        assert!(message.contains("--isolation off"), "{message}");
        assert!(!no_client(&failed, Level::Off).unwrap().to_string().contains("--isolation off"));
        assert!(no_client(&ProcessExit { greeted: true, ..failed }, Level::Auto).is_none());
        for cause in [Cause::Signal { number: 9 }, Cause::deadline(std::time::Duration::ZERO)] {
            assert!(no_client(&exit(cause), Level::Auto).is_none());
        }
    }
}
