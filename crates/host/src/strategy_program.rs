//! A strategy that is a program of the user's (`--strategy-program COMMAND`): it is sent each round's updates and gives the
//! new global weights. What it remembers comes with its answer, goes into the checkpoint and is sent with the next
//! request, so that a fresh process goes on with the same bits.

use std::{
    fmt,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use fedpipe_protocol::{
    Aggregate, Limits, PROTOCOL, Part, Parts, StrategyReply, StrategyRequest, StrategySetup, Tensor, UpdateHeader,
    WEIGHTS, read, write,
};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::{
    Accepted, Cause, Error, Experiment, Result, ServerState, check,
    foreign::Foreign,
    link::Link,
    log::ClientLog,
    process::{End, Process},
    spawn::{Spawned, spawn},
    stray::new_mark,
};

/// The name of the part that holds what the program remembers.
const STATE: &str = "state";

/// Bytes of a pipe: the most that any user may ask for.
const PIPE_SIZE: i32 = 1 << 20;

/// The running program; dropping it ends the process.
pub(crate) struct StrategyProgram {
    process: Process,
    link: Link,
    timeout: Duration,
    started: Instant,
}

impl fmt::Debug for StrategyProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrategyProgram").field("started", &self.started).finish_non_exhaustive()
    }
}

impl StrategyProgram {
    /// Starts the program and waits until it is ready; its log goes to `logs`.
    ///
    /// # Errors
    /// [`Error::Model`] where it does not come to that.
    pub(crate) fn start(foreign: &Foreign, experiment: &Experiment, layout: &[Tensor], logs: &Path) -> Result<Self> {
        let command = foreign.command()?;
        let started = Instant::now();
        let mark = new_mark();
        let Spawned { child, pidfd, to, from, log } =
            spawn(&command, 0, &mark, PIPE_SIZE).map_err(anyhow::Error::from)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(anyhow::Error::from)?;
        let link = Link {
            to,
            from,
            pidfd,
            log_pipe: Some(log),
            log: ClientLog::new(logs.join("strategy.log")),
            wake: Arc::new(wake),
            dismissed: Arc::new(AtomicBool::new(false)),
            deadline: None,
            dead: false,
        };
        let timeout = Duration::from_secs_f64(experiment.client_timeout);
        let mut program = Self { process: Process::new(child, mark), link, timeout, started };
        let setup = StrategySetup { seed: experiment.seed, clients: experiment.clients, layout: layout.to_vec() };
        program.greet(setup).map_err(|end| Error::Model(program.lost("before the first round", end)))?;
        Ok(program)
    }

    fn greet(&mut self, setup: StrategySetup) -> std::result::Result<(), End> {
        self.link.deadline = Some(Instant::now() + self.timeout);
        match read(&mut self.link, Limits { payload: 0 })? {
            (StrategyReply::Hello { protocol: PROTOCOL }, _) => {}
            (other, _) => return Err(unfit(format!("its first message is {other:?}"))),
        }
        match self.ask(&StrategyRequest::SetupStrategy(setup), &[], 0)? {
            (StrategyReply::ReadyStrategy, _) => Ok(()),
            (other, _) => Err(unfit(format!("it answered the setup with {other:?}"))),
        }
    }

    /// The new global weights from `weights` and the updates, which are in client order; moves the program's state on.
    ///
    /// # Errors
    /// [`Error::Round`] where the program is lost or its answer is not taken.
    pub(crate) fn apply(
        &mut self,
        round: u64,
        server: &mut ServerState,
        weights: &[f32],
        updates: &[Accepted],
    ) -> Result<Vec<f32>> {
        let aggregated = self.aggregate(round, server, weights, updates);
        let (moved, state) = aggregated.map_err(|end| Error::Round(self.lost(&format!("in round {round}"), end)))?;
        server.program = state;
        Ok(moved)
    }

    fn aggregate(
        &mut self,
        round: u64,
        server: &ServerState,
        weights: &[f32],
        updates: &[Accepted],
    ) -> std::result::Result<(Vec<f32>, Vec<u8>), End> {
        let names: Vec<String> = updates.iter().map(|update| format!("update/{}", update.client)).collect();
        let mut parts = vec![Part::F32(WEIGHTS, weights), Part::U8(STATE, &server.program)];
        parts.extend(names.iter().zip(updates).map(|(name, update)| Part::F32(name, &update.weights)));
        let headers = updates.iter().map(|&Accepted { client, examples, steps, accumulation, .. }| UpdateHeader {
            client,
            examples,
            steps,
            accumulation,
        });
        let request = StrategyRequest::Aggregate(Aggregate { round, updates: headers.collect() });
        let (reply, mut answer) = self.ask(&request, &parts, most_payload(weights.len()))?;
        if reply != StrategyReply::Aggregated {
            return Err(unfit(format!("it answered a request to aggregate with {reply:?}")));
        }
        check::weights(&answer, Some(weights.len())).map_err(End::Unfit)?;
        Ok((answer.take_f32(WEIGHTS).unwrap_or_default(), answer.take_u8(STATE).unwrap_or_default()))
    }

    fn ask(
        &mut self,
        request: &StrategyRequest,
        parts: &[Part<'_>],
        most_payload: u64,
    ) -> std::result::Result<(StrategyReply, Parts), End> {
        self.link.deadline = Some(Instant::now() + self.timeout);
        write(&mut self.link, request, parts)?;
        match read(&mut self.link, Limits { payload: most_payload })? {
            (StrategyReply::Failed { kind, message }, _) => Err(End::Unfit(Cause::reported(kind, &message))),
            answer => Ok(answer),
        }
    }

    /// Ends the program and says why it was lost.
    fn lost(&mut self, when: &str, end: End) -> String {
        match self.process.end(&mut self.link, end, self.timeout, self.started) {
            Some(loss) if loss.last_words.is_empty() => {
                format!("the strategy's program was lost {when}: {}", loss.cause)
            }
            Some(loss) => {
                let words = loss.last_words.join(" | ");
                format!("the strategy's program was lost {when}: {}; its last words: {words}", loss.cause)
            }
            None => format!("the strategy's program was dismissed {when}"),
        }
    }
}

impl Drop for StrategyProgram {
    fn drop(&mut self) {
        let _ = self.process.end(&mut self.link, End::Dismissed, self.timeout, self.started);
        self.process.end_strays();
    }
}

fn unfit(message: String) -> End {
    End::Unfit(Cause::protocol(message))
}

/// Bytes that an answer may have: the weights, and a state of 16 values of 4 bytes for each, and 1 MiB.
fn most_payload(weights: usize) -> u64 {
    (4 + 64) * weights as u64 + (1 << 20)
}
