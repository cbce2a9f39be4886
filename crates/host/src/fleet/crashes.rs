//! What becomes of a lost process and of the work that is lost with it.

use std::time::Duration;

use fedpipe_data::DataError;
use fedpipe_protocol::{FailureKind, Level};
use fedpipe_record::{
    cause::{Cause, isolation_hint, with_last_words},
    crash::{ClientCrash, Consequence},
    experiment::OnFailure,
};

use super::{Fleet, Incident, Tell};
use crate::{
    error::{Error, Result},
    fleet::batch::Batch,
    process::{end::ProcessExit, log::last_lines_of, stray::end_strays},
};

impl Fleet<'_> {
    /// Ends a process that lives, but whose answer is not taken.
    pub(super) fn refusal(&mut self, slot: usize, cause: Cause) -> ProcessExit {
        let worker = self.slots[slot].worker.take();
        let after = worker.as_ref().map_or(Duration::ZERO, |worker| worker.started.elapsed());
        let log_start = worker.as_ref().map_or(0, |worker| worker.log_start);
        if let Some(worker) = worker {
            let mark = self.environment.mark_of(worker.id);
            // Once its thread has ended, all that it printed is in its log.
            drop(worker);
            end_strays(&|of| of == mark);
        }
        let log = self.environment.log(slot);
        ProcessExit {
            cause,
            last_words: last_lines_of(&log, log_start),
            log: Some(log).filter(|log| log.exists()),
            after,
            processor_time: Duration::ZERO,
            // An answer that is refused comes after the hello.
            greeted: true,
        }
    }

    /// Settles a lost process: its work is done again, goes to another process, or is given up.
    pub(super) fn lose(
        &mut self,
        slot: usize,
        loss: ProcessExit,
        batch: &mut Batch,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        // The limits of this host are not those of a client elsewhere, whose process here is a relay.
        let limited = !self.environment.command.elsewhere;
        let loss = if limited { loss.by_limit(&self.slots[slot].setup.isolation) } else { loss };
        // Waited for once the loss is told: its thread may still look for strays.
        let worker = self.slots[slot].worker.take();
        let was_ready = std::mem::take(&mut self.slots[slot].ready);
        self.cores.forget(slot);
        if let (false, Some(error)) = (self.slots[slot].proven, no_model(&loss)) {
            return Err(error);
        }
        if self.environment.launched.is_some()
            && !self.slots[slot].proven
            && let Some(error) = no_client(&loss, self.slots[slot].setup.isolation.level)
        {
            return Err(error);
        }
        // Work that waits for a process that died while it started is lost with it.
        let index = batch.working[slot].take().map(|work| work.job);
        let index = index.or_else(|| if was_ready { None } else { batch.waiting[slot].pop_front() });
        let then = match index {
            None => Consequence::Replaced,
            Some(index) => self.reassign(slot, index, batch),
        };
        let lost = ClientCrash {
            round: batch.round,
            client: index.and_then(|index| batch.jobs[index].client),
            process: slot as u32,
            cause: loss.cause.clone(),
            after_seconds: loss.after.into(),
            then,
            last_words: loss.last_words.clone(),
            log: loss.log.clone(),
        };
        let who = lost.to_string();
        tell(Incident::Crashed(lost))?;
        drop(worker);
        match (then, index) {
            (Consequence::Aborted | Consequence::Reverted, _) => Err(Error::Round(who)),
            (Consequence::Dropped, Some(index)) => {
                batch.settled[index] = Some(Err(loss));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Decides what becomes of the job that a process was lost with.
    fn reassign(&self, slot: usize, index: usize, batch: &mut Batch) -> Consequence {
        batch.attempts[index] += 1;
        let attempts = batch.attempts[index];
        let movable = batch.jobs[index].client.is_none();
        match self.policy {
            OnFailure::Abort => self.given_up(Consequence::Aborted),
            OnFailure::Retry if attempts == 1 => {
                batch.waiting[slot].push_front(index);
                Consequence::Retried
            }
            _ if movable && (attempts as usize) <= self.slots.len() => {
                batch.waiting[(slot + 1) % self.slots.len()].push_back(index);
                Consequence::Moved
            }
            _ => self.given_up(Consequence::Dropped),
        }
    }

    /// Returns what follows where work is given up: in the first round of a new dylib, a return to the one before.
    fn given_up(&self, then: Consequence) -> Consequence {
        if self.before.is_some() { Consequence::Reverted } else { then }
    }
}

/// A failure that every process would repeat: the model, the data or the system do not fit, so the run cannot start.
fn no_model(loss: &ProcessExit) -> Option<Error> {
    match &loss.cause {
        Cause::Reported { failure: FailureKind::Isolation, message } => Some(Error::Isolation(message.clone())),
        Cause::Reported { failure: FailureKind::Data, message } => Some(DataError::Reported(message.clone()).into()),
        Cause::Reported { message, .. } => Some(Error::Model(message.clone())),
        _ => None,
    }
}

/// A failure of a user's program before its `hello`: until then nothing differs from client to client, so that every
/// process repeats the failure. A signal or a deadline may come from outside, and is retried.
fn no_client(loss: &ProcessExit, level: Level) -> Option<Error> {
    let is_its_own = matches!(loss.cause, Cause::Exit { .. } | Cause::Protocol { .. });
    let what = format!("the client's program failed before its first message: {}", loss.cause);
    let hint = if level == Level::Off { "" } else { isolation_hint(&loss.cause, &loss.last_words) };
    (is_its_own && !loss.greeted).then(|| Error::Model(with_last_words(&what, &loss.last_words) + hint))
}
