//! A strategy that is a program of the user's (`--strategy-program COMMAND`): it is sent each round's updates and gives the
//! new global weights. What it remembers comes with its answer, goes into the checkpoint and is sent with the next
//! request, so that a fresh process goes on with the same bits. It is launched and confined as a client's program is.
//!
//! The run's own thread waits for the answer, so that a stop must wake it there.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use fedpipe_protocol::{
    Aggregate, FailureKind, InForce, Isolation, Layout, Limits, PROTOCOL, Part, Parts, StrategyReply, StrategyRequest,
    StrategySetup, UpdateHeader, WEIGHTS, read, write,
};
use fedpipe_record::{
    cause::{Cause, with_last_words},
    experiment::Experiment,
};
use fedpipe_strategy::server::ServerState;

use crate::{
    error::{Error, Result},
    process::{
        conversation,
        end::{End, Process},
        inbox::StopSign,
        launch::Launched,
        log::ClientLog,
        pipes::{Allowance, Link},
        spawn::{ClientCommand, Spawned, spawn},
        start_error::{StartCall, StartError, failed},
        stray::new_mark,
    },
    run::{aggregate::Accepted, answers, directory::RunDir},
};

/// The name of the part that holds what the program remembers.
const STATE: &str = "state";

/// Bytes of a pipe: the most that any user may ask for.
const PIPE_SIZE: i32 = 1 << 20;

/// The running program; dropping it ends the process.
pub(crate) struct StrategyProgram {
    process: Process,
    link: Link,
    in_force: InForce,
    timeout: Duration,
    started: Instant,
    stop: Arc<StopSign>,
}

impl fmt::Debug for StrategyProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrategyProgram").field("started", &self.started).finish_non_exhaustive()
    }
}

impl StrategyProgram {
    /// Starts the program through the launcher and waits until it is ready; its log is in the run directory.
    ///
    /// # Errors
    /// [`Error::Model`] where it does not come to that, [`Error::Isolation`], [`Error::Stopped`].
    pub(crate) fn start(
        (command, launched): &(ClientCommand, Launched),
        experiment: &Experiment,
        layout: &Layout,
        directory: &RunDir,
        stop: &Arc<StopSign>,
    ) -> Result<Self> {
        let started = Instant::now();
        let mark = new_mark();
        let not_started = |error: StartError| Error::not_started("the strategy's program", &error);
        let wake = stop.wake().map_err(failed(StartCall::Descriptor)).map_err(not_started)?;
        let Spawned { child, pidfd, to, from, log } = spawn(command, 0, &mark, PIPE_SIZE).map_err(not_started)?;
        let timeout = Duration::from_secs_f64(experiment.client_timeout);
        let link = Link {
            to,
            from,
            pidfd,
            log_pipe: Some(log),
            log: ClientLog::new(directory.logs().join("strategy.log")),
            wake,
            dismissed: Arc::clone(&stop.raised),
            time: Allowance::new(timeout),
            dead: false,
            greeted: false,
        };
        let (process, stop, in_force) = (Process::new(child, mark), Arc::clone(stop), InForce::default());
        let mut program = Self { process, link, in_force, timeout, started, stop };
        let setup =
            StrategySetup { seed: experiment.seed, clients: experiment.clients, layout: layout.tensors().to_vec() };
        match program.greet(launched, experiment, setup) {
            Ok(()) => Ok(program),
            Err(End::Unfit(Cause::Reported { failure: FailureKind::Isolation, message })) => {
                Err(Error::Isolation(message))
            }
            Err(end) => Err(program.lost("before the first round", end, Error::Model)),
        }
    }

    /// What the kernel enforces on the program.
    pub(crate) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    fn greet(
        &mut self,
        launched: &Launched,
        experiment: &Experiment,
        setup: StrategySetup,
    ) -> std::result::Result<(), End> {
        self.link.allow(self.timeout);
        // The limits are the clients': a strategy holds the updates of all of them.
        let isolation = Isolation { level: experiment.isolation, memory_limit: None, cpu_seconds: None };
        self.in_force = conversation::launched(&mut self.link, &launched.request(isolation, Vec::new()))?;
        match self.answer(0)? {
            (StrategyReply::Hello { protocol: PROTOCOL }, _) => self.link.greeted = true,
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
    /// [`Error::Round`] where the program is lost or its answer is not taken, [`Error::Stopped`].
    pub(crate) fn apply(
        &mut self,
        round: u64,
        server: &mut ServerState,
        weights: &[f32],
        updates: &[Accepted],
    ) -> Result<Vec<f32>> {
        let aggregated = self.aggregate(round, server, weights, updates);
        let (moved, state) = aggregated.map_err(|end| self.lost(&format!("in round {round}"), end, Error::Round))?;
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
        let headers = updates.iter().map(|&Accepted { client, examples, steps, accumulation, loss_sum, .. }| {
            UpdateHeader { client, examples, steps, accumulation, loss_sum }
        });
        let request = StrategyRequest::Aggregate(Aggregate { round, updates: headers.collect() });
        let (reply, mut answer) = self.ask(&request, &parts, most_payload(weights.len()))?;
        if reply != StrategyReply::Aggregated {
            return Err(unfit(format!("it answered a request to aggregate with {reply:?}")));
        }
        let checked = answers::only(&answer, &[WEIGHTS, STATE]);
        let checked = checked.and_then(|()| answers::weights(&answer, weights.len(), "look at the program"));
        checked.map_err(End::Unfit)?;
        Ok((answer.take_f32(WEIGHTS).unwrap_or_default(), answer.take_u8(STATE).unwrap_or_default()))
    }

    fn ask(
        &mut self,
        request: &StrategyRequest,
        parts: &[Part<'_>],
        most_payload: u64,
    ) -> std::result::Result<(StrategyReply, Parts), End> {
        self.link.allow(self.timeout);
        write(&mut self.link, request, parts)?;
        self.answer(most_payload)
    }

    fn answer(&mut self, most_payload: u64) -> std::result::Result<(StrategyReply, Parts), End> {
        match read(&mut self.link, Limits { payload: most_payload })? {
            (StrategyReply::Failed { kind, message }, _) => Err(End::Unfit(Cause::reported(kind, &message))),
            answer => Ok(answer),
        }
    }

    /// Ends the program and says why it was lost, as the error `kind`; where nothing was wrong with it, the run was stopped.
    fn lost(&mut self, when: &str, end: End, kind: fn(String) -> Error) -> Error {
        let Some(loss) = self.process.end(&mut self.link, end, self.timeout, self.started) else {
            return Error::Stopped(self.stop.signal());
        };
        let what = format!("the strategy's program was lost {when}: {}", loss.cause);
        kind(with_last_words(&what, &loss.last_words))
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
